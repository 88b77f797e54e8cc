"""What came to a recorded run from outside, as a case says it: decisions, signals, what became of parked steps."""

from datetime import timedelta
from typing import cast

from cli.testing.places import Places
from studio.contracts.base import JsonObject
from studio.contracts.durations import format_duration
from studio.contracts.runs import Run, StepRun


def outside_of(run: Run, places: Places | None) -> JsonObject:
    """The case's `decisions`, `signals` and `resolves`, as far as there are any, and when the run started.

    A decision that time made is left out, since time makes it again.
    """
    decisions = {step.id: decision for step in run.steps if (decision := _decision(step)) is not None}
    resolves = {step.id: resolution for step in run.steps if (resolution := _resolution(step)) is not None}
    signals = _signals(run, places) if places is not None else []
    found: JsonObject = {"decisions": decisions, "signals": signals, "resolves": resolves}
    given = {name: value for name, value in found.items() if value}
    if given and run.started_at is not None:
        given["clock"] = run.started_at.isoformat()
    return given


def _decision(step: StepRun) -> JsonObject | None:
    if step.kind != "approval" or step.status != "succeeded" or not isinstance(step.output, dict):
        return None
    output = cast("JsonObject", step.output)
    if output.get("timed_out", True):
        return None
    given: JsonObject = {"decision": output["decision"], "by": output["by"]}
    if output["comment"] is not None:
        given["comment"] = output["comment"]
    if output["edited"]:
        given["edit"] = output["value"]
    if step.duration_ms:
        given["after"] = format_duration(timedelta(milliseconds=step.duration_ms))
    return given


def _signals(run: Run, places: Places) -> list[JsonObject]:
    """In the order in which they were taken."""
    taken = [(step.ended_at, step) for step in run.steps if step.kind == "wait" and step.status == "succeeded"]
    found: list[JsonObject] = []
    for ended_at, step in sorted(taken, key=lambda one: one[0] or run.created_at):
        name = places.signal_at(step.id)
        if name is None:
            continue
        signal: JsonObject = {"name": name, "payload": step.output}
        if run.started_at and ended_at and ended_at > run.started_at:
            signal["after"] = format_duration(ended_at - run.started_at)
        found.append(signal)
    return found


def _resolution(step: StepRun) -> JsonObject | None:
    """None for a parked agent that somebody finished by hand, too: its output is recorded as the reply."""
    if step.resolved_by is None:
        return None
    given: JsonObject = {"by": step.resolved_by}
    match step.status:
        case "succeeded" if step.kind != "agent":
            return given | {"action": "done", "output": step.output}
        case "skipped":
            return given | {"action": "skip"}
        case "failed":
            return given | {"action": "fail"}
        case _:
            return None
