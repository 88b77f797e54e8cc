"""Child workflows on a real Temporal server."""

import asyncio

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError

from studio.contracts.base import JsonObject
from tests.support.platform import Engine
from tests.support.scripted_upstream import Reply

CALL: JsonObject = {"id": "c", "workflow": "inner"}
REFUSED = Reply(status=400, error={"error": {"message": "no"}})


def agent(step_id: str, message: str, **fields: object) -> JsonObject:
    return {"id": step_id, "agent": {"message": message}, **fields}


def sequence(*steps: JsonObject, **fields: object) -> JsonObject:
    return {"pattern": "sequential", "steps": list(steps), **fields}


class TestChildWorkflow:
    async def test_its_steps_events_and_cost_are_the_runs(self, engine: Engine) -> None:
        engine.upstream.when("ask", Reply(text="answer"))
        inner = sequence(agent("a", "ask"), output="${{ {'got': prev.output, 'of': input} }}")
        handle = await engine.start([CALL | {"input": 5}, agent("b", "ask")], workflows={"inner": inner})
        assert await handle.result() == "answer"
        run = await engine.run(handle.id)
        assert [(step.id, step.kind) for step in run.steps] == [("c", "workflow"), ("c/a", "agent"), ("b", "agent")]
        assert run.steps[0].output == {"got": "answer", "of": 5}
        assert run.usage.llm_calls == 2
        told = [(event.type, event.step_id) for event in await engine.events(handle.id)]
        order = [("step.started", "c"), ("step.started", "c/a"), ("step.succeeded", "c/a"), ("step.succeeded", "c")]
        assert [one for one in told if one in order] == order
        assert [kind for kind, _ in told if kind.startswith("run.")] == ["run.started", "run.succeeded"]
        spans = {span.step_id: span for span in await engine.spans.wait_for(6) if span.kind != "llm"}
        assert spans["c/a"].parent_span_id == spans["c"].span_id

    async def test_one_without_calls_needs_no_activity(self, engine: Engine) -> None:
        inner: JsonObject = {
            "pattern": "parallel",
            "for_each": "${{ input }}",
            "do": {"id": "x", "transform": "${{ item * 2 }}"},
        }
        handle = await engine.start([CALL | {"input": [1, 2]}], workflows={"inner": inner})
        assert await handle.result() == [2, 4]

    async def test_a_failure_inside_keeps_its_place_and_can_be_caught(self, engine: Engine) -> None:
        engine.upstream.when("bad", REFUSED)
        handle = await engine.start([CALL | {"on_error": "continue"}], workflows={"inner": sequence(agent("a", "bad"))})
        assert await handle.result() is None
        run = await engine.run(handle.id)
        assert run.steps[0].error is not None
        assert (run.steps[0].error.type, run.steps[0].error.step_id) == ("invalid_request", "c/a")
        assert {step.id: step.status for step in run.steps} == {"c": "failed", "c/a": "failed"}

    async def test_a_failure_with_large_results_keeps_them(self, engine: Engine) -> None:
        large = {"id": "x", "transform": "${{ input + input + input }}"}
        inner = sequence(large, agent("a", "bad"))
        engine.upstream.when("bad", REFUSED)
        text = "".join(f"{number:x}" for number in range(60_000))
        handle = await engine.start([CALL | {"input": text, "on_error": "continue"}], workflows={"inner": inner})
        await handle.result()
        run = await engine.run(handle.id)
        assert run.steps[1].output == text * 3
        history = await handle.fetch_history()
        assert max(event.ByteSize() for event in history.events) < 64 * 1024

    async def test_one_tried_again_tells_its_steps_anew(self, engine: Engine) -> None:
        engine.upstream.when("flaky", Reply(status=503), Reply(text="fine"))
        inner = sequence(agent("a", "flaky", retry={"max_attempts": 1}))
        retry = {"max_attempts": 2, "initial_interval": "10ms"}
        handle = await engine.start([CALL | {"retry": retry}], workflows={"inner": inner})
        assert await handle.result() == "fine"
        starts = [
            event.attempt
            for event in await engine.events(handle.id)
            if (event.type, event.step_id) == ("step.started", "c/a")
        ]
        assert starts == [1, 2]

    async def test_an_input_that_does_not_fit_is_refused_before_it_starts(self, engine: Engine) -> None:
        inner = sequence({"id": "x", "transform": 1}, input_schema={"type": "object", "required": ["topic"]})
        handle = await engine.start([CALL | {"input": {}}], workflows={"inner": inner})
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        run = await engine.run(handle.id)
        assert run.error is not None
        assert run.error.type == "schema_mismatch"
        assert "topic" in run.error.message

    async def test_a_workflow_may_run_itself_and_one_without_end_is_stopped(self, engine: Engine) -> None:
        down = {"id": "c", "workflow": "inner", "input": "${{ input - 1 }}", "when": "${{ input > 0 }}"}
        inner = sequence(down, output="${{ input == 0 ? 0 : steps.c.output + 1 }}")
        handle = await engine.start([CALL | {"input": 5}], workflows={"inner": inner})
        assert await handle.result() == 5
        endless = await engine.start([CALL], workflows={"inner": sequence(CALL)})
        with pytest.raises(WorkflowFailureError):
            await endless.result()
        run = await engine.run(endless.id)
        assert run.error is not None
        assert run.error.type == "limit_exceeded"

    async def test_a_cancel_reaches_the_call_inside_and_cleans_up_there(self, engine: Engine) -> None:
        engine.upstream.when("slow", Reply(text="late", hold_after=0))
        inner = sequence(agent("a", "slow")) | {"finally": [{"id": "f", "transform": "cleaned"}]}
        handle = await engine.start([CALL], workflows={"inner": inner})
        await engine.upstream.wait_for_calls(1, "held")
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        await engine.upstream.wait_for_calls(1, "abandoned")
        run = await engine.run(handle.id)
        assert run.status == "cancelled"
        assert {step.id: step.status for step in run.steps} == {
            "c": "cancelled",
            "c/a": "cancelled",
            "c/f": "succeeded",
        }

    async def test_one_that_lost_a_race_ends_before_the_block_does(self, engine: Engine) -> None:
        engine.upstream.when("quick", Reply(text="won"))
        engine.upstream.when("slow", Reply(text="late", hold_after=0))
        race = {"id": "p", "parallel": {"join": "any", "branches": [CALL, agent("q", "quick")]}}
        handle = await engine.start([race], workflows={"inner": sequence(agent("a", "slow"))})
        assert await handle.result() == {"c": None, "q": "won"}
        child = await engine.client.get_workflow_handle(f"{handle.id}/p/c").describe()
        assert child.status != WorkflowExecutionStatus.RUNNING
        told = [(event.type, event.step_id) for event in await engine.events(handle.id)]
        assert told.index(("step.cancelled", "p/c")) < told.index(("step.succeeded", "p"))

    async def test_one_terminated_from_outside_fails_its_step(self, engine: Engine) -> None:
        inner = sequence({"id": "h", "wait": {"signal": "never"}})
        catch = [{"catch": ["cancelled"], "steps": [{"id": "s", "transform": "gone"}]}]
        handle = await engine.start([CALL | {"on_error": catch}], workflows={"inner": inner})
        child = engine.client.get_workflow_handle(f"{handle.id}/c")
        while not any(event.type == "step.waiting" for event in await engine.events(handle.id)):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)
        await child.terminate()
        assert await handle.result() == "gone"
