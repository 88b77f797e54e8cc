"""The commands that let a run begin once more, or end it at once. Each imports what it needs when it runs."""

from typing import Annotated

import typer

from cli.commands import RUNS, JsonOption, RunId

FollowOption = Annotated[bool, typer.Option("--follow/--no-follow", help="Watch it, or only start it.")]
Version = Annotated[
    str | None,
    typer.Option(metavar="N|latest", help="Go on with this version: what means the same in it is kept."),
]
Limit = Annotated[str | None, typer.Option(metavar="N|none", help="`none` takes the limit away.")]


def register(app: typer.Typer) -> None:
    for command in (retry, replay, terminate):
        app.command(rich_help_panel=RUNS)(command)


def retry(
    run_id: RunId,
    from_step: Annotated[
        str | None, typer.Option("--from", metavar="STEP", help="This step and all after it run again.")
    ] = None,
    given: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="STEP=JSON|@FILE", help="What a step gets instead; may be given again."),
    ] = None,
    version: Version = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would run again.")] = False,
    max_tokens: Limit = None,
    max_cost_usd: Limit = None,
    max_steps: Limit = None,
    timeout: Annotated[str | None, typer.Option(metavar="DURATION|none", help="From now: 90, 30s, 5m.")] = None,
    follow: FollowOption = True,
    as_json: JsonOption = False,
) -> None:
    """Continue a failed, cancelled, terminated or timed-out run where it stopped, and watch it live.

    Only what failed runs again, and what depends on it. The exit code is 0 when the run succeeded and 1 when it did
    not.

    Example: studio retry run_01k8x3v5c0000000000000000 --input 'answer[7]={"url": "https://example.com"}'
    """
    from cli.inputs import parse_by_step, parse_version
    from cli.reruns import retry_run, show_plan
    from cli.steering import parse_limits
    from studio.contracts.reruns import RetryRun

    body = RetryRun(from_step=from_step, inputs=parse_by_step(given or (), "--input"), version=parse_version(version))
    limits = {"max_tokens": max_tokens, "max_cost_usd": max_cost_usd, "max_steps": max_steps, "timeout": timeout}
    if any(value is not None for value in limits.values()):
        body = body.model_copy(update={"limits": parse_limits(limits)})
    if plan:
        show_plan(run_id, body, as_json=as_json)
    else:
        retry_run(run_id, body, followed=follow, as_json=as_json)


def replay(
    run_id: RunId,
    given: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", metavar="JSON|@FILE|K=V", help="Another input, as `studio run` takes it."),
    ] = None,
    from_step: Annotated[
        str | None, typer.Option("--from", metavar="STEP", help="What comes before keeps its recorded output.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--override", metavar="STEP=JSON|@FILE", help="The output of a step; may be given again."),
    ] = None,
    version: Version = None,
    follow: FollowOption = True,
    as_json: JsonOption = False,
) -> None:
    """Start a new run as one that has ended, and watch it live.

    Without options the same once more, from its beginning. The exit code is 0 when it succeeded and 1 when it did not.

    Example: studio replay run_01k8x3v5c0000000000000000 --override 'plan=["one question"]'
    """
    from cli.inputs import parse_by_step, parse_input, parse_version
    from cli.reruns import replay_run
    from studio.contracts.reruns import ReplayRun

    body = ReplayRun(
        from_step=from_step, overrides=parse_by_step(overrides or (), "--override"), version=parse_version(version)
    )
    if given:
        body = body.model_copy(update={"input": parse_input(given)})
    replay_run(run_id, body, followed=follow, as_json=as_json)


def terminate(run_id: RunId, as_json: JsonOption = False) -> None:
    """End a run at once: no step cleans up, no `finally` runs. `studio cancel` is the gentle way.

    Example: studio terminate run_01k8x3v5c0000000000000000
    """
    from cli.reruns import terminate_run

    terminate_run(run_id, as_json=as_json)
