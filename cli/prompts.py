"""What `studio prompts` does."""

from collections.abc import Mapping, Sequence
from typing import cast

import typer
from rich.text import Text

from cli.inputs import parse_input
from cli.output import err, out, print_json, print_table, print_text, safe, time_text
from cli.remote import with_prompts
from studio.clients.prompts import PromptClient
from studio.contracts.base import JsonObject
from studio.contracts.prompts import DEFAULT_LABEL, PromoteRequest, Prompt, PromptVersion, TextMessage
from studio.errors import NotFound


def show_prompts(filters: Mapping[str, str | int | None], *, as_json: bool) -> None:
    page = with_prompts(lambda prompts: prompts.list_prompts(**filters))
    if as_json:
        print_json(page)
        return
    print_table(
        ("name", "project", "type", "latest", "labels", "tags", "updated"),
        [
            (
                prompt.name,
                prompt.project_id,
                prompt.type,
                str(prompt.latest_version),
                _labels(prompt),
                ", ".join(map(safe, prompt.tags)),
                time_text(prompt.updated_at),
            )
            for prompt in page.items
        ],
        right=("latest",),
    )
    if page.next_cursor is not None:
        err().print(Text("There are more; a higher --limit shows them.", "dim"))


def show_prompt(ref: str, project_id: str, *, label: str | None, version: int | None, as_json: bool) -> None:
    async def work(prompts: PromptClient) -> tuple[Prompt, PromptVersion | None]:
        prompt = await prompts.get_prompt(ref, project_id=project_id)
        number = _chosen(prompt, label, version)
        return prompt, await prompts.get_version(prompt.id, number) if number else None

    _exclusive(label, version)
    prompt, content = with_prompts(work)
    if as_json:
        document: JsonObject = prompt.model_dump(mode="json")
        document["content"] = content.model_dump(mode="json", exclude_none=True) if content else None
        print_json(document)
        return
    out().print(Text.assemble((prompt.name, "bold"), (f"  {prompt.id}  {prompt.type}", "dim")))
    if prompt.description:
        print_text(prompt.description)
    out().print(Text(f"labels: {_labels(prompt) or 'none'}; newest version: {prompt.latest_version}"))
    if content is not None:
        _print_version(content)


def _chosen(prompt: Prompt, label: str | None, version: int | None) -> int:
    if version is not None:
        return version
    if label is not None and label not in prompt.labels:
        raise NotFound(f"The prompt {prompt.name!r} has no label {label!r}; it has {_labels(prompt) or 'none'}.")
    return prompt.labels.get(label or DEFAULT_LABEL, prompt.latest_version)


def _print_version(content: PromptVersion) -> None:
    note = f": {safe(content.message)}" if content.message else ""
    created = f"version {content.version}, {time_text(content.created_at)} by {safe(content.created_by)}{note}"
    out().print(Text(created, "dim"))
    for message in content.messages or []:
        if isinstance(message, TextMessage):
            _print_message(message.role, message.content)
        else:
            _print_message("placeholder", message.placeholder)
    if content.template is not None:
        print_text(content.template)


def promote_prompt(
    ref: str, project_id: str, version: int, *, label: str, expected: int | None, reason: str, as_json: bool
) -> None:
    fields: JsonObject = {"version": version, "label": label, "reason": reason}
    if expected is not None:
        fields["expected"] = expected
    request = PromoteRequest.model_validate(fields)
    prompt = with_prompts(lambda prompts: prompts.promote(ref, request, project_id=project_id))
    if as_json:
        print_json(prompt)
    else:
        out().print(Text(f"{prompt.name}: {label} is version {prompt.labels[label]} now."))


def render_prompt(
    ref: str, project_id: str, variables: Sequence[str], *, label: str | None, version: int | None, as_json: bool
) -> None:
    _exclusive(label, version)
    values = parse_input(variables)
    if values is not None and not isinstance(values, dict):
        raise typer.BadParameter("variables are key=value, or a JSON object.", param_hint="[K=V]...")
    given = cast("JsonObject", values or {})
    rendered = with_prompts(
        lambda prompts: prompts.render(ref, given, project_id=project_id, label=label, version=version)
    )
    if as_json:
        print_json(rendered)
    elif rendered.text is not None:
        print_text(rendered.text)
    else:
        for message in rendered.messages or []:
            _print_message(str(message.get("role")), str(message.get("content")))


def _exclusive(label: str | None, version: int | None) -> None:
    if label is not None and version is not None:
        raise typer.BadParameter("give either --label or --version.")


def _labels(prompt: Prompt) -> str:
    return ", ".join(f"{label}={version}" for label, version in prompt.labels.items())


def _print_message(role: str, content: str) -> None:
    out().print(Text(f"\n[{role}]", "bold"))
    print_text(content)
