"""What a run waits for, why it is paused, and what to type so that it goes on."""

import shlex
from collections.abc import Mapping

from cli.output import safe, time_text
from cli.story import error_of, next_attempt_of, until_of
from studio.contracts.base import Json

Facts = Mapping[str, Json]
"""The data of a `step.waiting` or `run.paused` event; a step's `waiting` is the same as the former."""


def wait_text(waiting: Facts) -> str:
    """`waits for approval: Send it?`, `waits for the signal go`, `waits until 12:00:00`."""
    match waiting.get("for"):
        case "approval":
            return f"{wait_head(waiting)}: {' '.join(safe(str(waiting.get('message'))).split())}"
        case "resolve":
            return f"{wait_head(waiting)}: {parked_text(waiting)}"
        case _:
            return wait_head(waiting)


def parked_text(waiting: Facts) -> str:
    """What a parked step failed with."""
    error = error_of(waiting)
    return "" if error is None else f"{error.type}: {safe(error.message)}"


def wait_head(waiting: Facts) -> str:
    """The same without the message of an approval, and without the error of a parked step."""
    until = until_of(waiting)
    moment = f"until {time_text(until)}" if until is not None else ""
    match waiting.get("for"):
        case "approval":
            whom = f", escalated to {safe(str(waiting['escalate_to']))}," if waiting.get("escalated") else ""
            return f"waits for approval{whom} {moment}".rstrip(" ,")
        case "resolve":
            return "failed and waits for somebody to resolve it"
        case "signal":
            return f"waits for the signal {safe(str(waiting.get('name')))} {moment}".rstrip()
        case _:
            return f"waits {moment}".rstrip()


def wait_commands(run_id: str, path: str, waiting: Facts) -> list[str]:
    """What ends the wait; nothing when only time does."""
    match waiting.get("for"):
        case "approval":
            return [f"studio approve {run_id} {shlex.quote(path)}"]
        case "resolve":
            return [_resolve_command(run_id, path)]
        case "signal":
            return [f"studio signal {run_id} {waiting.get('name')}"]
        case _:
            return []


def _resolve_command(run_id: str, path: str) -> str:
    return f"studio resolve {run_id} {shlex.quote(path)} --action retry"


def decision_text(output: Facts) -> str:
    """An approval's output, or what its endpoint answers: `approved by ada, edited: nicer`."""
    words = "approved" if output.get("decision") == "approve" else "rejected"
    words += f" by {safe(str(output.get('by')))}" if output.get("by") else ", as nobody decided in time"
    words += ", edited" if output.get("edited") else ""
    return words + (f": {safe(str(output.get('comment')))}" if output.get("comment") else "")


def retrying_text(attempt: int, retrying: Facts) -> str:
    """`attempt` is the one to come. A worker that was killed could not say why."""
    error = error_of(retrying)
    if error is None:
        return f"attempt {attempt}"
    due = next_attempt_of(retrying)
    when = "" if due is None else f" at {time_text(due)}"
    why = f"{error.type}: {safe(error.message).rstrip('.')}"
    return f"attempt {attempt - 1} failed with {why}; attempt {attempt} follows{when}"


def pause_text(path: str, paused: Facts) -> str:
    """`paused on request`, `paused: max_tokens 5000 is reached`; `path` is that of a child workflow, or empty."""
    within = f" in {path}" if path else ""
    if paused.get("reason") == "limit_exceeded":
        return f"paused{within}: {str(paused.get('limit')).replace(',', '')} is reached"
    if paused.get("reason") == "step_failed":
        return f"paused{within} until what failed is resolved"
    return f"paused{within} on request"


def pause_commands(run_id: str, path: str, paused: Facts) -> list[str]:
    """What lets the run go on, one after the other."""
    if paused.get("reason") == "step_failed":
        return [_resolve_command(run_id, str(paused.get("step_id")))]
    if paused.get("reason") != "limit_exceeded":
        return [f"studio resume {run_id}"]
    limited = str(paused.get("limit_of", path))
    of_child = f" --step {shlex.quote(limited)}" if limited else ""
    option = str(paused.get("limit")).partition(",")[0].replace("_", "-")
    return [f"studio limits {run_id} --{option} N{of_child}", f"studio resume {run_id}"]
