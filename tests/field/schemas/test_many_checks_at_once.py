"""Many expensive checks at the same moment: all are made, one or two in each workflow task, so that the run ends."""

import asyncio
from datetime import UTC, datetime

import pytest
from temporalio.api.enums.v1 import EventType

from studio.contracts.base import Json, JsonObject
from studio.contracts.definitions import parse_workflow
from studio.engine.plan import compile_plan
from studio.engine.recalls import has_more
from studio.engine.scheduler import advance
from studio.engine.state import RunFacts, RunStarted, RunState, Ticked
from studio.engine.turn import SCHEMA_STEPS_A_COST, TURN_COST
from studio.schemas.meter import MAX_STEPS
from tests.api.conftest import Live
from tests.field.schemas.explosive import EXPLOSIVE

PATIENCE = 90
COUNT = 5
COSTLY = next(case.schema for case in EXPLOSIVE if case.name == "many alternatives for many items")
VALUE: Json = [[-1]] * 8
"""Checking it takes more than a turn may, and less than is refused."""
GIVEN: JsonObject = {"items": list(range(COUNT)), "value": VALUE}
CHECKED: JsonObject = {"transform": "${{ input.value }}", "output_schema": COSTLY, "on_error": "continue"}


def side_by_side(do: Json) -> JsonObject:
    return {"id": "m", "parallel": {"for_each": "${{ input['items'] }}", "do": do}}


BLOCKS: dict[str, JsonObject] = {
    "items of a list": side_by_side({"id": "a", **CHECKED}),
    "branches": {"id": "m", "parallel": {"branches": [{"id": f"b{n}", **CHECKED} for n in range(COUNT)]}},
    "nodes of a graph": {
        "id": "m",
        "graph": {"nodes": [{"id": f"n{n}", **CHECKED} for n in range(COUNT)], "edges": []},
    },
}


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_steps_that_end_at_once_take_a_turn_each(block: JsonObject) -> None:
    plan = compile_plan(parse_workflow({"name": "test", "pattern": "sequential", "steps": [block]}))
    at = datetime(2026, 1, 1, tzinfo=UTC)
    state, _ = advance(plan, RunState(run=RunFacts(id="run_1"), input=GIVEN), RunStarted(at))
    costs = [state.turn_cost]
    while has_more(state):
        state, _ = advance(plan, state, Ticked(at))
        costs.append(state.turn_cost)
    assert len(costs) >= COUNT
    assert max(costs) < TURN_COST + MAX_STEPS // SCHEMA_STEPS_A_COST + 100
    errors = [step.error for step in state.steps.values() if step.kind == "transform"]
    assert [error and error.type for error in errors] == ["schema_mismatch"] * COUNT


async def timers(live: Live, run_id: str) -> int:
    """With which a workflow task ends before its work is done."""
    history = await live.engine.client.get_workflow_handle(run_id).fetch_history()
    return sum(event.event_type == EventType.EVENT_TYPE_TIMER_STARTED for event in history.events)


class TestRuns:
    async def test_outputs_of_a_map(self, lite: Live) -> None:
        await lite.workflow(BLOCKS["items of a list"])
        run_id = await lite.start(input=GIVEN)
        run = await lite.api.finished(run_id, seconds=PATIENCE)
        assert (run["status"], run["output"]) == ("succeeded", [None] * COUNT)
        assert await timers(lite, run_id) >= COUNT - 1

    async def test_inputs_of_children(self, lite: Live) -> None:
        await lite.workflow({"id": "x", "transform": 1}, name="child", input_schema=COSTLY)
        child: JsonObject = {"id": "a", "workflow": "child", "input": "${{ input.value }}", "on_error": "continue"}
        await lite.workflow(side_by_side(child))
        run_id = await lite.start(input=GIVEN)
        run = await lite.api.finished(run_id, seconds=PATIENCE)
        assert (run["status"], run["output"]) == ("succeeded", [None] * COUNT)
        assert await timers(lite, run_id) >= COUNT - 1

    async def test_outputs_that_resolve_a_step(self, lite: Live) -> None:
        await lite.workflow({"id": "a", "transform": "${{ 1 / input }}", "output_schema": COSTLY}, on_failure="pause")
        run_id = await lite.start(input=0)
        await lite.api.until(f"/runs/{run_id}", lambda run: run["status"] == "paused")
        body: JsonObject = {"action": "done", "output": VALUE}
        asked = [lite.api.post(f"/runs/{run_id}/steps/a/resolve", body) for _ in range(2)]
        assert {answer.status for answer in await asyncio.gather(*asked)} == {422}
        assert await timers(lite, run_id) >= 1
