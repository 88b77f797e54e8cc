"""What `studio run`, `runs`, `get`, `events` and `cancel` do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import cast

import typer
from rich.text import Text

from cli.definitions import apply_sources, print_report, rejections_reported
from cli.files import SUFFIXES, Sources, read_sources
from cli.follow import ConnectionLost, follow
from cli.output import err, out, plain, print_json, print_json_line
from cli.plain import PlainView
from cli.remote import with_api
from cli.story import RunStory
from cli.summary import print_end, print_run, print_runs
from cli.watch import Watched, announce, exit_as, open_view, watch
from studio.clients.api import ApiClient
from studio.contracts.base import Json, JsonObject, Page
from studio.contracts.runs import Run, RunKind, StartRun

LONGEST_PAGE = 200


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
            else _last_target(sources, target, agent=options.agent)
        )

        async def work(api: ApiClient) -> tuple[Run, Watched]:
            if sources is not None:
                report = await apply_sources(api, sources)
                if not options.as_json:
                    print_report(report, sources)
            started = await api.start_run(chosen.kind, chosen.ref, options.body(), project_id=chosen.project_id)
            if not options.follow:
                return started, "ended"
            if not options.as_json:
                announce(started)
            return await watch(api, started, open_view(as_json=options.as_json), options.limit)

        run, watched = with_api(work)
    show_outcome(run, watched, followed=options.follow, as_json=options.as_json)


def show_outcome(run: Run, watched: Watched, *, followed: bool, as_json: bool) -> None:
    """Of a run that this command began; ends the command with it when it was followed."""
    if as_json:
        print_json(run)
    elif not followed:
        out().print(Text(f"{run.id} {run.status}. Watch it with `studio events {run.id} -f`."))
    elif watched == "ended":
        print_end(run)
    if followed:
        exit_as(run, watched)


def _sources(target: str) -> Sources | None:
    """The documents of the file that `target` names; None when it is the name of a definition."""
    if not target.endswith(SUFFIXES) and "/" not in target:
        return None
    if not Path(target).exists():
        raise typer.BadParameter(f"there is no file {target!r}.", param_hint="NAME|PATH")
    return read_sources([Path(target)])


def _last_target(sources: Sources, path: str, *, agent: bool) -> Target:
    """The last workflow of the documents, else the last agent."""
    kinds: tuple[RunKind, ...] = ("agent",) if agent else ("workflow", "agent")
    for kind in kinds:
        for value in reversed(sources.values):
            document = cast("JsonObject", value) if isinstance(value, dict) else {}
            if document.get("kind") == kind:
                return Target(kind, str(document.get("name")), str(document.get("project_id", "default")))
    raise typer.BadParameter(f"{path} holds no {' and no '.join(kinds)} to run.", param_hint="NAME|PATH")


def show_runs(filters: Mapping[str, str | Sequence[str] | None], *, limit: int, as_json: bool) -> None:
    async def work(api: ApiClient) -> Page[Run]:
        found: list[Run] = []
        cursor: str | None = None
        while True:
            page = await api.list_runs(**filters, limit=min(limit - len(found), LONGEST_PAGE), cursor=cursor)
            found += page.items
            cursor = page.next_cursor
            if cursor is None or len(found) >= limit:
                return Page(items=found, next_cursor=cursor)

    page = with_api(work)
    if as_json:
        print_json(page)
    elif page.items:
        print_runs(page.items)
        if page.next_cursor is not None:
            err().print(Text(f"There are more; --limit {limit * 2} shows them.", "dim"))
    else:
        err().print(Text("No runs.", "dim"))


def show_run(run_id: str, *, as_json: bool) -> None:
    async def work(api: ApiClient) -> tuple[Run, RunStory]:
        run = await api.get_run(run_id)
        story = RunStory()
        if run.status == "paused" and not as_json:  # only its events say why
            for event in await api.list_events(run_id):
                story.take(event)
        return run, story

    run, story = with_api(work)
    if as_json:
        print_json(run)
    else:
        print_run(run, story.paused)


def show_events(run_id: str, *, as_json: bool) -> None:
    events = with_api(lambda api: api.list_events(run_id))
    if as_json:
        print_json([plain(event) for event in events])
        return
    view = PlainView()
    for event in events:
        view.take(event)
    view.close()


def follow_events(run_id: str, *, as_json: bool) -> None:
    async def work(api: ApiClient) -> None:
        run = await api.get_run(run_id)
        if as_json:
            async for news in follow(api, run_id, retry=run.retry_count):
                if not isinstance(news, ConnectionLost):
                    print_json_line(news)
            return
        announce(run)
        run, watched = await watch(api, run, open_view())
        if watched == "ended":
            print_end(run)
        else:
            exit_as(run, watched)

    with_api(work)


def cancel_run(run_id: str, *, as_json: bool) -> None:
    run = with_api(lambda api: api.cancel_run(run_id))
    if as_json:
        print_json(run)
    else:
        out().print(Text(f"{run.id} is asked to stop. `studio get {run.id}` shows how it ended."))
