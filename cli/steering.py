"""What `studio pause`, `resume`, `approve`, `resolve`, `signal` and `limits` do."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import typer
from pydantic import BaseModel, ValidationError
from rich.text import Text

from cli.output import as_text, out, plain, print_json, print_text, safe, time_text
from cli.remote import fail, with_api
from cli.waits import decision_text, wait_commands, wait_head
from studio.contracts.base import Json, JsonObject
from studio.contracts.interaction import DecideApproval, PendingApproval, ResolveStep
from studio.contracts.runs import Run
from studio.contracts.waits import Limits

NO_LIMIT = "none"
LONGEST_PAGE = 200
ModelT = TypeVar("ModelT", bound=BaseModel)


def pause_run(run_id: str, *, as_json: bool) -> None:
    run = with_api(lambda api: api.pause_run(run_id))
    says = "is paused" if run.status == "paused" else "is asked to pause"
    _report(run, f"{says}. `studio resume {run.id}` continues it.", as_json=as_json)


def resume_run(run_id: str, *, as_json: bool) -> None:
    run = with_api(lambda api: api.resume_run(run_id))
    if run.status == "paused":
        says = f"is paused again: a limit is reached. `studio get {run.id}` says which, and what to do."
    else:
        says = f"continues. `studio events {run.id} -f` watches it."
    _report(run, says, as_json=as_json)


def send_signal(run_id: str, name: str, payload: Json, *, as_json: bool) -> None:
    run = with_api(lambda api: api.send_signal(run_id, name, payload))
    _report(run, f"was sent the signal {name}. `studio events {run.id} -f` watches it.", as_json=as_json)


def parse_limits(given: Mapping[str, str | None]) -> Limits:
    """The limits that are not None, as text; `none` takes one away. Raises `typer.BadParameter`."""
    changes = {name: None if value == NO_LIMIT else value for name, value in given.items() if value is not None}
    if not changes:
        raise typer.BadParameter("give at least one limit.", param_hint="--max-tokens, --max-cost-usd, …")
    return _checked(Limits, changes)


def parse_decision(given: JsonObject) -> DecideApproval:
    """Raises `typer.BadParameter`."""
    return _checked(DecideApproval, given)


def parse_resolution(given: JsonObject) -> ResolveStep:
    """Raises `typer.BadParameter`."""
    return _checked(ResolveStep, given)


def _checked(model: type[ModelT], values: JsonObject) -> ModelT:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = first["loc"][0] if first["loc"] else first.get("ctx", {}).get("at")
        option = f"--{place}".replace("_", "-")
        raise typer.BadParameter(first["msg"].removeprefix("Value error, "), param_hint=option) from None


def change_limits(run_id: str, changes: Limits, step_id: str | None, *, as_json: bool) -> None:
    run = with_api(lambda api: api.change_limits(run_id, changes, step_id))
    values = changes.model_dump(mode="json", exclude_unset=True)
    limits = ", ".join(f"{name} {NO_LIMIT if value is None else value}" for name, value in values.items())
    then = f" It is paused; `studio resume {run.id}` continues it." if run.status == "paused" else ""
    _report(run, f"has other limits: {limits}.{then}", as_json=as_json)


def _report(run: Run, says: str, *, as_json: bool) -> None:
    if as_json:
        print_json(run)
    else:
        out().print(Text(f"{run.id} {says}"))


def show_approvals(run_id: str, *, as_json: bool) -> None:
    pending = with_api(lambda api: api.list_approvals(run_id))
    if as_json:
        print_json([plain(one) for one in pending])
    elif pending:
        _print_pending(pending)
    else:
        print_text("Nothing waits for a person.", "dim")


def show_inbox(filters: Mapping[str, str | None], *, limit: int, as_json: bool) -> None:
    page = with_api(lambda api: api.inbox(**filters, limit=limit))
    if as_json:
        print_json(page)
    elif page.items:
        for one in page.items:
            out().print(Text.assemble((f"{one.workflow} ", "bold"), (f"since {time_text(one.waiting_since)}", "dim")))
            _print_pending([one])
        if page.next_cursor is not None:
            print_text(f"There are more; --limit {min(limit * 2, LONGEST_PAGE)} shows them.", "dim")
    else:
        print_text("Nothing waits for a person.", "dim")


def _print_pending(pending: Sequence[PendingApproval]) -> None:
    console = out()
    for one in pending:
        waiting = {"for": "approval", **one.model_dump(mode="json", exclude_none=True)}
        console.print(Text.assemble((safe(one.step_id), "bold"), (f"  {wait_head(waiting)}", "magenta")))
        console.print(Text(_indented(one.message)))
        if one.input is not None:
            console.print(Text(_indented(as_text(one.input), 4), "dim"))
        for command in wait_commands(one.run_id, one.step_id, waiting):
            console.print(Text(f"  {command} [--reject]{' [--edit JSON]' if one.allow_edit else ''}", "cyan"))


def _indented(text: str, by: int = 2) -> str:
    return "\n".join(" " * by + line for line in safe(text.strip("\n")).split("\n"))


def decide(run_id: str, step_id: str, body: DecideApproval, *, as_json: bool) -> None:
    """Ends with exit code 1 when it was decided otherwise before."""
    outcome = with_api(lambda api: api.decide(run_id, step_id, body))
    if as_json:
        print_json(outcome)
    says = f"{step_id} was {decision_text(outcome.model_dump())}."
    if not outcome.accepted and outcome.decision != body.decision:
        fail(f"too late: {says}")
    if not as_json:
        print_text(says if outcome.accepted else f"Already decided: {says}")


def resolve_step(run_id: str, step_id: str, body: ResolveStep, *, as_json: bool) -> None:
    step = with_api(lambda api: api.resolve(run_id, step_id, body))
    if as_json:
        print_json(step)
    else:
        again = f", attempt {step.attempt}" if body.action == "retry" else ""
        print_text(f"{step_id} is {step.status}{again}. `studio events {run_id} -f` watches the run.")
