"""A definition carried on the in-memory driver in one call."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from studio.contracts.base import Json, JsonObject
from studio.contracts.definitions import ResolvedDefinition, ResolvedWorkflow, parse_workflow
from studio.contracts.runs import RunError
from studio.engine.memory_calls import ModelReply
from studio.engine.memory_driver import MemoryDriver, MemoryRun
from studio.engine.state import CancelRequested, RunFacts
from tests.support.scripted_replies import NoPrompts, ScriptedReplies

START = datetime(2026, 1, 1, tzinfo=UTC)


def says(text: str = "ok", *, after: float = 0) -> ModelReply:
    return ModelReply(text, after=timedelta(seconds=after))


def refuses(kind: str = "upstream_error", *, after: float = 0) -> ModelReply:
    return ModelReply(error=RunError(type=kind, message="broke"), after=timedelta(seconds=after))


def ask(step_id: str, **fields: Json) -> JsonObject:
    """One attempt of a call, and no more."""
    return {"id": step_id, "agent": {}, "input": step_id, "retry": {"max_attempts": 1}, **fields}


def carry(
    *steps: JsonObject,
    given: Json = None,
    replies: Mapping[str, Sequence[ModelReply]] | None = None,
    cancelled_at: float | None = None,
    children: Mapping[str, JsonObject] | None = None,
    ends: Sequence[JsonObject] = (),
    **fields: Json,
) -> MemoryRun:
    """A sequential workflow of these steps, with `ends` as its `finally`; with `pattern` among the fields, what those
    say.
    """
    fields |= {"finally": [*ends]} if ends else {}
    document: JsonObject = {
        "name": "any",
        **({} if "pattern" in fields else {"pattern": "sequential", "steps": [*steps]}),
    }
    workflows = {
        name: ResolvedWorkflow(name=name, version=1, workflow=parse_workflow({"name": name, **child}))
        for name, child in (children or {}).items()
    }
    definition = ResolvedDefinition(workflow=parse_workflow(document | fields), workflows=workflows)
    driver = MemoryDriver(
        definition,
        RunFacts(id="run_1"),
        given,
        replies=ScriptedReplies(replies or {}),
        prompts=NoPrompts(),
        start=START,
    )
    if cancelled_at is not None:
        driver.add(CancelRequested(START + timedelta(seconds=cancelled_at)))
    return driver.run()


def statuses(run: MemoryRun) -> dict[str, str]:
    return {step.id: step.status for step in run.end.progress.steps}


def outputs(run: MemoryRun) -> dict[str, Json]:
    return {step.id: step.output for step in run.end.progress.steps}
