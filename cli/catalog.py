"""What `studio list`, `show` and `delete` do: every kind alike, as far as the kinds are."""

from typing import assert_never

import typer
from rich.text import Text

from cli.commands import Kind
from cli.output import err, print_json, print_table, print_text, safe, time_text
from cli.prompts import show_prompt, show_prompts
from cli.remote import with_api, with_prompts
from cli.schedules import show_schedule, show_schedules
from studio.contracts.base import JsonObject
from studio.contracts.definitions import DefinitionKind
from studio.contracts.resources import Stored
from studio.document_writer import dump_document

DEFAULT_PROJECT = "default"


def list_kind(kind: Kind, project: str | None, *, limit: int, as_json: bool) -> None:
    match kind:
        case Kind.AGENT | Kind.WORKFLOW:
            _list_definitions(kind.value, project, limit=limit, as_json=as_json)
        case Kind.SCHEDULE:
            show_schedules(project, limit=limit, as_json=as_json)
        case Kind.PROMPT:
            show_prompts({"project_id": project, "limit": limit}, as_json=as_json)
        case _:
            assert_never(kind)


def show(kind: Kind, ref: str, project_id: str, *, version: int | None, as_json: bool) -> None:
    match kind:
        case Kind.AGENT | Kind.WORKFLOW:
            document = with_api(lambda api: api.get_definition(kind.value, ref, project_id=project_id, version=version))
            if as_json:
                print_json(document)
            else:
                _print_document(kind.value, document)
        case Kind.SCHEDULE:
            if version is not None:
                raise typer.BadParameter("a schedule has no versions.", param_hint="--version")
            show_schedule(ref, project_id, as_json=as_json)
        case Kind.PROMPT:
            show_prompt(ref, project_id, label=None, version=version, as_json=as_json)
        case _:
            assert_never(kind)


def delete(kind: Kind, ref: str, project_id: str, *, as_json: bool) -> None:
    match kind:
        case Kind.AGENT | Kind.WORKFLOW | Kind.SCHEDULE:
            with_api(lambda api: api.delete_definition(kind.value, ref, project_id=project_id))
        case Kind.PROMPT:
            with_prompts(lambda prompts: prompts.delete_prompt(ref, project_id=project_id))
        case _:
            assert_never(kind)
    if as_json:
        print_json({"deleted": {"kind": kind.value, "name": ref, "project_id": project_id}})
    else:
        print_text(f"deleted the {kind.value} {ref}")


def _list_definitions(kind: DefinitionKind, project: str | None, *, limit: int, as_json: bool) -> None:
    page = with_api(lambda api: api.list_definitions(kind, project_id=project, limit=limit))
    if as_json:
        print_json(page)
        return
    found = [Stored.model_validate(item) for item in page.items]
    print_table(
        ("name", "project", "version", "updated", "description"),
        [
            (
                one.name,
                one.project_id,
                str(one.version),
                time_text(one.updated_at),
                _first_line(one.unreadable or one.description),
            )
            for one in found
        ],
        right=("version",),
    )
    if page.next_cursor is not None:
        err().print(Text("There are more; a higher --limit shows them.", "dim"))


def _first_line(text: str | None) -> str:
    return safe(text).partition("\n")[0] if text else ""


def _print_document(kind: DefinitionKind, found: JsonObject) -> None:
    """As a document that `apply` takes back, below a comment with what the store adds."""
    stored = Stored.model_validate(found)
    document: JsonObject = {name: value for name, value in found.items() if name not in Stored.ADDED}
    if stored.project_id == DEFAULT_PROJECT:
        document.pop("project_id", None)
    if not stored.description:  # the API shows an empty one where there is none
        document.pop("description", None)
    typer.echo(f"# {stored.id}, version {stored.version}, {time_text(stored.updated_at or stored.created_at)}")
    print_text(dump_document({"kind": kind, **document}).rstrip("\n"))
