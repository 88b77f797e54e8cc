"""The same definition and the same replies on Temporal and in memory: the same steps, outputs and events."""

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from temporalio.client import WorkflowFailureError

from api.runs.executions import Executions
from studio.contracts.base import Json, JsonObject
from studio.contracts.definitions import ResolvedDefinition, ResolvedWorkflow, parse_workflow
from studio.contracts.events import NewEvent
from studio.contracts.runs import Run, RunEnd
from studio.engine.memory_driver import MemoryDriver, MemoryRun
from studio.engine.state import CancelRequested, RunFacts
from tests.support.child_scripts import CHILDREN, FAILING_CHILDREN, HELD_CHILD, LOST_RACE, RECURSION
from tests.support.error_scripts import OWN_ERRORS
from tests.support.outside_scripts import (
    APPROVALS,
    LIMIT_RAISED,
    PARKED,
    PARKED_CHILD,
    PAUSED,
    PAUSED_CHILD,
    RUNS_LIMIT_RAISED,
    SIGNALS,
    Act,
    OutsideScript,
)
from tests.support.parity_scripts import (
    CHOICES,
    CUT,
    FAILURES,
    GRAPH,
    HELD,
    LATE,
    LIMITED,
    PARALLEL,
    SEQUENCE,
    Script,
)
from tests.support.platform import Engine
from tests.support.scripted_replies import NoPrompts, ScriptedReplies

START = datetime(2026, 1, 1, tzinfo=UTC)


async def on_temporal(
    engine: Engine, script: Script, *, cancelled: bool = False, acts: Sequence[Act] = ()
) -> tuple[Run, list[NewEvent]]:
    """Cancelled, if it is, while its first call is under way."""
    for path, text in script.says.items():
        engine.upstream.when(text, *(answer.upstream() for answer in script.answers[path]))
    handle = await engine.start(script.steps, script.given, workflows=dict(script.workflows), **script.fields)
    if cancelled:
        await engine.upstream.wait_for_calls(1)
        await handle.cancel()
    for act in acts:
        await comes_to(engine, handle.id, *act.once)
        await act.send(engine.client, handle.id)
    with contextlib.suppress(WorkflowFailureError):  # the run says how it failed
        await handle.result()
    return await engine.run(handle.id), [*await engine.events(handle.id)]


async def comes_to(engine: Engine, run_id: str, path: str, status: str) -> None:
    """Wait until the step, or under the empty path the run, has the status."""
    executions = Executions(engine.client, engine.settings.temporal_task_queue)
    while True:
        progress = await executions.progress(run_id)
        statuses = {step.id: step.status for step in progress.steps} if progress is not None else {}
        if progress is not None and (statuses.get(path) if path else progress.status) == status:
            return
        await asyncio.sleep(0.02)


def in_memory(script: Script, *, cancelled: bool = False, acts: Sequence[Act] = ()) -> MemoryRun:
    document = {"name": "test", "pattern": "sequential", "steps": script.steps, **script.fields}
    children = {
        name: ResolvedWorkflow(name=name, version=1, workflow=parse_workflow({"name": name, **fields}))
        for name, fields in script.workflows.items()
    }
    definition = ResolvedDefinition(workflow=parse_workflow(document), workflows=children)
    replies = ScriptedReplies({path: [one.memory() for one in found] for path, found in script.answers.items()})
    driver = MemoryDriver(
        definition, RunFacts(id="run_1"), script.given, replies=replies, prompts=NoPrompts(), start=START
    )
    if cancelled:
        driver.add(CancelRequested(START + timedelta(seconds=1)))
    for act in acts:
        driver.add(act.request(START))
    return driver.run()


def assert_same(script: Script, memory: MemoryRun, run: Run, events: Sequence[NewEvent]) -> None:
    compared = Compared(script)
    assert compared.end(memory.end) == compared.end(run)
    assert compared.told_of_each(memory.events) == compared.told_of_each(events)
    assert compared.told(memory.events) == compared.told(events)


_RACING = frozenset({"run.started", "step.started"})
_WHEN = frozenset({"duration_ms", "until", "started_at", "ended_at"})


class Compared:
    """What both drivers must agree on: moments and durations are left out, and usage if it is not counted.

    When a next attempt is due becomes how long it waits, which is the same on both.
    """

    def __init__(self, script: Script) -> None:
        self._left_out = _WHEN if script.counted else _WHEN | {"usage", "cost_usd"}
        self._untold = {"token"} if script.counted else {"token", "usage"}

    def plain(self, value: Any) -> Json:
        if isinstance(value, dict):
            items = cast("JsonObject", value).items()
            return {key: self.plain(item) for key, item in items if key not in self._left_out}
        if isinstance(value, list):
            return [self.plain(item) for item in cast("list[Json]", value)]
        return value

    def told(self, events: Sequence[NewEvent]) -> list[Json]:
        """By their times: on Temporal what one step ended with may be told after another's next attempt began.

        Without the starts, since calls that begin together tell of theirs in any order; see `told_of_each`.
        """
        untold = _RACING | self._untold
        kept = sorted((event for event in events if event.type not in untold), key=lambda event: event.ts)
        return [self.plain([event.type, event.step_id, event.attempt, _waits(event)]) for event in kept]

    def told_of_each(self, events: Sequence[NewEvent]) -> dict[str | None, list[Json]]:
        """Of each step, and under None of the run, in its order."""
        found: dict[str | None, list[Json]] = {}
        for event in events:
            if event.type not in self._untold:
                found.setdefault(event.step_id, []).append(self.plain([event.type, event.attempt, _waits(event)]))
        return found

    def end(self, run: Run | RunEnd) -> Json:
        steps = run.steps if isinstance(run, Run) else run.progress.steps
        totals = run if isinstance(run, Run) else run.progress
        fields = {"steps": [step.model_dump(mode="json") for step in steps], "status": run.status}
        fields |= {"output": run.output, "error": run.error and run.error.model_dump()}
        return self.plain(fields | {"usage": totals.usage.model_dump(), "cost_usd": totals.cost_usd})


def _waits(event: NewEvent) -> JsonObject:
    """Its data, with the seconds from the event to the next attempt in place of that moment."""
    due = event.data.get("next_attempt_at")
    if due is None:
        return event.data
    return event.data | {"next_attempt_at": (datetime.fromisoformat(str(due)) - event.ts).total_seconds()}


class TestParity:
    @pytest.mark.parametrize(
        "script",
        [
            pytest.param(SEQUENCE, id="sequence, retries and structured output"),
            pytest.param(PARALLEL, id="parallel"),
            pytest.param(CHOICES, id="conditional, route and loop"),
            pytest.param(GRAPH, id="graph and hierarchical"),
            pytest.param(FAILURES, id="failures, timeouts, compensation and finally"),
            pytest.param(OWN_ERRORS, id="errors of one's own, unmet joins, withered nodes and what fails afterwards"),
            pytest.param(LIMITED, id="limits"),
            pytest.param(LATE, id="a call that the step's timeout ends"),
            pytest.param(CUT, id="answers that were cut"),
            pytest.param(CHILDREN, id="child workflows in a map"),
            pytest.param(FAILING_CHILDREN, id="child workflows that fail, are tried again, limited and late"),
            pytest.param(RECURSION, id="workflows that run themselves"),
            pytest.param(LOST_RACE, id="a child workflow that lost a race"),
        ],
    )
    async def test_steps_output_and_events_are_the_same(self, engine: Engine, script: Script) -> None:
        run, events = await on_temporal(engine, script)
        assert_same(script, in_memory(script), run, events)

    @pytest.mark.parametrize(
        "script", [pytest.param(HELD, id="a run"), pytest.param(HELD_CHILD, id="a child workflow that cleans up")]
    )
    async def test_what_is_cancelled_is_the_same(self, engine: Engine, script: Script) -> None:
        run, events = await on_temporal(engine, script, cancelled=True)
        assert run.status == "cancelled"
        assert_same(script, in_memory(script, cancelled=True), run, events)

    @pytest.mark.parametrize(
        "outside",
        [
            pytest.param(SIGNALS, id="signals before, while and after a step waits"),
            pytest.param(APPROVALS, id="approvals"),
            pytest.param(PAUSED, id="a paused run"),
            pytest.param(PAUSED_CHILD, id="a paused child workflow"),
            pytest.param(LIMIT_RAISED, id="a limit that is raised"),
            pytest.param(RUNS_LIMIT_RAISED, id="a run's limit that is reached in a child of a child"),
            pytest.param(PARKED, id="steps that are parked"),
            pytest.param(PARKED_CHILD, id="a step that is parked in a child workflow"),
        ],
    )
    async def test_what_comes_from_outside_does_the_same(self, engine: Engine, outside: OutsideScript) -> None:
        run, events = await on_temporal(engine, outside.script, acts=outside.acts)
        assert run.status == "succeeded"
        assert_same(outside.script, in_memory(outside.script, acts=outside.acts), run, events)
