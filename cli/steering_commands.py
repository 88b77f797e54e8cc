"""The commands that steer a run. Each imports what it needs when it runs."""

from typing import Annotated

import typer

from cli.commands import RUNS, JsonOption, ProjectFilter, RunId

Limit = Annotated[str | None, typer.Option(metavar="N|none", help="`none` takes the limit away.")]


def register(app: typer.Typer) -> None:
    for command in (pause, resume, approvals, approve, resolve, signal, limits):
        app.command(rich_help_panel=RUNS)(command)


def pause(run_id: RunId, as_json: JsonOption = False) -> None:
    """Start no further step of a run; steps that are under way run to their end.

    Example: studio pause run_01k8x3v5c0000000000000000
    """
    from cli.steering import pause_run

    pause_run(run_id, as_json=as_json)


def resume(run_id: RunId, as_json: JsonOption = False) -> None:
    """Continue a paused run. One that a limit paused needs a higher limit first: `studio limits`.

    Example: studio resume run_01k8x3v5c0000000000000000
    """
    from cli.steering import resume_run

    resume_run(run_id, as_json=as_json)


def approvals(
    workflow: Annotated[str | None, typer.Option("--workflow", help="Only of this workflow (name or id).")] = None,
    project: ProjectFilter = None,
    escalated: Annotated[bool, typer.Option("--escalated", help="Only those that are escalated.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=200, help="At most so many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List what waits for a person, over all runs: what has waited longest comes first.

    Example: studio approvals --escalated
    """
    from cli.steering import show_inbox

    filters = {"workflow": workflow, "project_id": project, "escalated": "true" if escalated else None}
    show_inbox(filters, limit=limit, as_json=as_json)


def approve(
    run_id: RunId,
    step_id: Annotated[
        str | None, typer.Argument(metavar="STEP", help="The step's path; without it, what waits is listed.")
    ] = None,
    reject: Annotated[bool, typer.Option("--reject", help="Reject instead.")] = False,
    comment: Annotated[str | None, typer.Option("--comment", help="Why, for the run's later steps to see.")] = None,
    edit: Annotated[
        str | None,
        typer.Option("--edit", metavar="JSON|@FILE", help="Approve this instead of the input that is shown."),
    ] = None,
    shown: Annotated[
        str | None, typer.Option("--hash", help="Only if the step still shows what has this hash (see --json).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Decide what a run waits for a person to decide; or list it.

    Who decided is you, by your user name. Exit code 1 when it was already decided otherwise.

    Example: studio approve run_01k8x3v5c0000000000000000 review --comment "well put"
    """
    from cli.inputs import parse_json
    from cli.steering import decide, parse_decision, show_approvals

    given = {"comment": comment, "hash": shown}
    changes = {name: value for name, value in given.items() if value is not None}
    if step_id is None:
        if reject or edit is not None or changes:
            raise typer.BadParameter("say which step; without one, what waits is listed.", param_hint="STEP")
        show_approvals(run_id, as_json=as_json)
        return
    if edit is not None:
        if reject:
            raise typer.BadParameter("an edit is an approval, so it does not go with --reject.", param_hint="--edit")
        changes["edit"] = parse_json(edit, "--edit")
        if changes["edit"] is None:
            raise typer.BadParameter("null is no edit: leave --edit out, or give another value.", param_hint="--edit")
    body = parse_decision({"decision": "reject" if reject else "approve", **changes})
    decide(run_id, step_id, body, as_json=as_json)


def resolve(
    run_id: RunId,
    step_id: Annotated[str, typer.Argument(metavar="STEP", help="The path of the step that failed and waits.")],
    action: Annotated[
        str,
        typer.Option(
            metavar="retry|skip|done|fail",
            help="Run it again, continue without it, give its output, or let it fail.",
        ),
    ],
    output: Annotated[
        str | None, typer.Option(metavar="JSON|@FILE", help="With done: the step's output; null when left out.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what becomes of a step that failed in a workflow with `on_failure: pause`.

    Example: studio resolve run_01k8x3v5c0000000000000000 send --action retry
    """
    from cli.inputs import parse_json
    from cli.steering import parse_resolution, resolve_step

    given = {"action": action} | ({} if output is None else {"output": parse_json(output, "--output")})
    resolve_step(run_id, step_id, parse_resolution(given), as_json=as_json)


def signal(
    run_id: RunId,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The signal that a step waits for.")],
    payload: Annotated[
        str | None, typer.Argument(metavar="JSON|@FILE", help="The step's output; null when left out.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Send a run a signal. One that no step waits for yet is kept for the first that does.

    Example: studio signal run_01k8x3v5c0000000000000000 paid '{"amount": 12}'
    """
    from cli.inputs import parse_json
    from cli.steering import send_signal

    send_signal(run_id, name, None if payload is None else parse_json(payload, "JSON|@FILE"), as_json=as_json)


def limits(
    run_id: RunId,
    max_tokens: Limit = None,
    max_cost_usd: Limit = None,
    max_steps: Limit = None,
    timeout: Annotated[
        str | None,
        typer.Option(metavar="DURATION|none", help="From the run's start: 90, 30s, 5m. `none` takes it away."),
    ] = None,
    on_exceeded: Annotated[str | None, typer.Option(metavar="pause|fail", help="What reaching a limit does.")] = None,
    step: Annotated[str | None, typer.Option(metavar="STEP", help="Of the child workflow that this step runs.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Raise or lower what a run may take; what is left out stays.

    Example: studio limits run_01k8x3v5c0000000000000000 --max-tokens 20000
    """
    from cli.steering import change_limits, parse_limits

    given = {
        "max_tokens": max_tokens,
        "max_cost_usd": max_cost_usd,
        "max_steps": max_steps,
        "timeout": timeout,
        "on_exceeded": on_exceeded,
    }
    change_limits(run_id, parse_limits(given), step, as_json=as_json)
