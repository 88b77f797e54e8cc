"""What `studio run` does."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import NoReturn, cast

import typer

from cli.definitions import apply_sources, print_report, rejections_reported
from cli.files import SUFFIXES, FilesRejected, Sources, read_sources
from cli.remote import with_api
from cli.watch import Watched, announce, open_view, show_outcome, watch
from studio.clients.api import ApiClient
from studio.contracts.base import Json, JsonObject
from studio.contracts.runs import Run, RunKind, StartRun
from studio.errors import FieldError, InvalidInput, NotFound


@dataclass(frozen=True)
class RunOptions:
    """How `studio run` was called. `limit` is how long it watches."""

    input: Json
    session_id: str | None
    user_id: str | None
    metadata: Mapping[str, str]
    agent: bool
    project_id: str
    follow: bool
    limit: timedelta | None
    as_json: bool

    def body(self) -> StartRun:
        fields: JsonObject = {"input": self.input, "session_id": self.session_id, "user_id": self.user_id}
        fields["metadata"] = self.metadata or None
        return StartRun.model_validate({name: value for name, value in fields.items() if value is not None})


@dataclass(frozen=True)
class Target:
    """What is run."""

    kind: RunKind
    ref: str
    project_id: str


def start_and_watch(target: str, options: RunOptions) -> None:
    """Apply the file that `target` names, if it does; start the run, show it and end with its outcome."""
    with rejections_reported(as_json=options.as_json):
        sources = _sources(target)
        chosen = (
            Target("agent" if options.agent else "workflow", target, options.project_id)
            if sources is None
            else _last_target(sources, agent=options.agent)
        )
        if chosen is None:
            _refuse_without_target(target, sources, agent=options.agent)

        async def work(api: ApiClient) -> tuple[Run, Watched]:
            if sources is not None:
                report = await apply_sources(api, sources)
                if not options.as_json:
                    print_report(report, sources)
            started = await _start(api, chosen, options)
            if not options.follow:
                return started, "ended"
            if not options.as_json:
                announce(started)
            return await watch(api, started, open_view(as_json=options.as_json), options.limit)

        run, watched = with_api(work)
    show_outcome(run, watched, followed=options.follow, as_json=options.as_json)


async def _start(api: ApiClient, target: Target, options: RunOptions) -> Run:
    """A name that no workflow has may be an agent's."""
    try:
        return await api.start_run(target.kind, target.ref, options.body(), project_id=target.project_id)
    except NotFound:
        if target.kind == "agent":
            raise
        agent = replace(target, kind="agent")
        try:
            return await api.start_run(agent.kind, agent.ref, options.body(), project_id=agent.project_id)
        except NotFound:
            where = f"in the project {target.project_id!r}"
            message = f"There is no workflow and no agent {target.ref!r} {where}. `studio list workflow` shows what is."
            raise NotFound(message) from None
    except InvalidInput as error:
        if options.input is not None:
            raise
        errors = [one.model_copy(update={"hint": _with_option(one)}) for one in error.errors]
        raise InvalidInput(error.detail, errors=errors) from None


def _with_option(error: FieldError) -> str | None:
    if error.loc[:2] != ["body", "input"]:
        return error.hint
    return f"{error.hint or 'give one'}: --input JSON, or KEY=VALUE"


def _sources(target: str) -> Sources | None:
    """The documents of the file that `target` names; None when it is the name of a definition."""
    if not target.endswith(SUFFIXES) and "/" not in target:
        return None
    if not Path(target).exists():
        raise typer.BadParameter(f"there is no file {target!r}.", param_hint="NAME|PATH")
    return read_sources([Path(target)])


def _refuse_without_target(path: str, sources: Sources | None, *, agent: bool) -> NoReturn:
    """What is wrong with the documents comes first: it may be why none of them can be run."""
    if sources is not None:
        from cli.offline import check_offline

        errors = check_offline(sources).errors
        if errors:
            raise FilesRejected(errors)
    wanted = "agent" if agent else "workflow and no agent"
    raise typer.BadParameter(f"{path} holds no {wanted} to run.", param_hint="NAME|PATH")


def _last_target(sources: Sources, *, agent: bool) -> Target | None:
    """The last workflow of the documents, else the last agent; None when they hold neither."""
    kinds: tuple[RunKind, ...] = ("agent",) if agent else ("workflow", "agent")
    for kind in kinds:
        for value in reversed(sources.values):
            document = cast("JsonObject", value) if isinstance(value, dict) else {}
            if document.get("kind") == kind:
                return Target(kind, str(document.get("name")), str(document.get("project_id", "default")))
    return None
