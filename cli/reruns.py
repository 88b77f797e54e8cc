"""What `studio retry`, `replay` and `terminate` do."""

from rich.text import Text

from cli.output import count_text, out, print_json, print_table, print_text, safe
from cli.remote import with_api
from cli.watch import Watched, announce, open_view, show_outcome, watch
from studio.clients.api import ApiClient
from studio.contracts.reruns import ReplayRun, RetryPlan, RetryRun
from studio.contracts.runs import Run


def retry_run(run_id: str, body: RetryRun, *, followed: bool, as_json: bool) -> None:
    async def work(api: ApiClient) -> tuple[Run, Watched]:
        run = await api.retry_run(run_id, body)
        return await _watched(api, run, again=True, as_json=as_json) if followed else (run, "ended")

    run, watched = with_api(work)
    show_outcome(run, watched, followed=followed, as_json=as_json)


def replay_run(run_id: str, body: ReplayRun, *, followed: bool, as_json: bool) -> None:
    async def work(api: ApiClient) -> tuple[Run, Watched]:
        run = await api.replay_run(run_id, body)
        return await _watched(api, run, again=False, as_json=as_json) if followed else (run, "ended")

    run, watched = with_api(work)
    show_outcome(run, watched, followed=followed, as_json=as_json)


async def _watched(api: ApiClient, run: Run, *, again: bool, as_json: bool) -> tuple[Run, Watched]:
    if not as_json:
        announce(run)
    return await watch(api, run, open_view(as_json=as_json), again=again)


def show_plan(run_id: str, body: RetryRun, *, as_json: bool) -> None:
    plan = with_api(lambda api: api.plan_retry(run_id, body))
    if as_json:
        print_json(plan)
    else:
        _print_plan(plan)


def _print_plan(plan: RetryPlan) -> None:
    if plan.again:
        rows = [(safe(step.step_id), step.kind, step.status, safe(step.why)) for step in plan.again]
        print_table(("runs again", "kind", "status", "why"), rows)
    if plan.dropped:
        print_text(f"Not used any more, since the version has no place for it: {', '.join(map(safe, plan.dropped))}")
    kept = f"{count_text(len(plan.kept), 'step')} kept" if plan.kept else "Nothing is kept"
    print_text(f"{kept}; what was not reached yet follows.", "dim")


def terminate_run(run_id: str, *, as_json: bool) -> None:
    run = with_api(lambda api: api.terminate_run(run_id))
    if as_json:
        print_json(run)
    else:
        out().print(Text(f"{run.id} is terminated. `studio retry {run.id}` continues it where it stopped."))
