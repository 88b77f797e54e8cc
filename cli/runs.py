"""What `studio runs`, `get`, `events` and `cancel` do."""

from collections.abc import Mapping, Sequence

from rich.text import Text

from cli.follow import ConnectionLost, follow
from cli.output import err, out, plain, print_json, print_json_line
from cli.plain import PlainView
from cli.remote import with_api
from cli.story import RunStory
from cli.summary import print_end, print_run, print_runs
from cli.watch import announce, exit_as, open_view, watch
from studio.clients.api import ApiClient
from studio.contracts.base import Page
from studio.contracts.runs import Run

LONGEST_PAGE = 200


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
