"""Runs that are retried on a real Temporal server: who is called again is read from the scripted upstream's ledger."""

import asyncio
from collections import Counter

import pytest
from temporalio.client import WorkflowFailureError

from studio.contracts.base import JsonObject
from studio.contracts.runs import RunProgress
from tests.support.platform import Engine
from tests.support.scripted_upstream import Reply
from workflows.names import PROGRESS

REFUSED = Reply(status=400, error={"error": {"message": "no"}})


def agent(step_id: str, message: str, **fields: object) -> JsonObject:
    return {"id": step_id, "agent": {"message": message}, **fields}


def asked(engine: Engine, since: int = 0) -> Counter[str]:
    """How often the model was asked what."""
    return Counter(str(call.body["messages"][-1]["content"]) for call in engine.upstream.calls[since:])


class TestRetry:
    async def test_two_items_of_fifty_and_what_depends_on_them(self, engine: Engine) -> None:
        do: JsonObject = {
            "id": "s",
            "sequential": {"steps": [agent("one", "ask {{ input }}."), agent("two", "check {{ input }}")]},
        }
        block: JsonObject = {"for_each": "${{ input }}", "do": do, "on_branch_error": "collect"}
        engine.upstream.default = Reply(text="fine")
        for bad in ("ask 7.", "ask 31."):
            engine.upstream.when(bad, REFUSED)
        steps = [
            agent("first", "first"),
            {"id": "m", "parallel": block},
            agent("sum", "sum {{ n }}", input={"n": "${{ size(steps.m.output.filter(one, one != null)) }}"}),
            agent("beside", "beside", input="${{ steps.first.output }}"),
        ]
        handle = await engine.start(steps, list(range(50)))
        await handle.result()
        first = await engine.run(handle.id)
        made = len(engine.upstream.calls)
        assert made == 1 + 50 + 48 + 2

        again = await engine.retry(handle.id, inputs={"m/s[7]/one": "seven", "m/s[31]/one": "thirty-one"})
        assert await again.result() == "fine"
        repaired = {"ask seven.": 1, "ask thirty-one.": 1, "check fine": 2, "sum 50": 1}
        assert asked(engine, made) == repaired
        run = await engine.run(handle.id)
        assert run.status == "succeeded"
        assert run.usage.llm_calls == first.usage.llm_calls + 5
        kept = {step.id: step for step in first.steps if step.status == "succeeded" and step.id not in {"m", "sum"}}
        assert {step.id: step for step in run.steps if step.id in kept} == kept
        told = Counter((event.type, event.step_id, event.attempt) for event in await engine.events(handle.id))
        lives = {kind: count for kind, count in told.items() if kind[0] != "token"}
        assert set(lives.values()) == {1}
        assert told["run.retried", None, 2] == told["run.succeeded", None, 2] == told["step.started", "m", 2] == 1

    async def test_a_round_of_a_loop_and_a_child_in_a_child_go_on_where_they_stopped(self, engine: Engine) -> None:
        engine.upstream.default = Reply(text="fine")
        engine.upstream.when("judge 2", REFUSED, Reply(text="fine"))
        engine.upstream.when("deep two", REFUSED, Reply(text="fine"))
        rounds = [agent("draft", "draft"), agent("judge", "judge {{ input }}", input="${{ iteration }}")]
        deep: JsonObject = {"pattern": "sequential", "steps": [agent("a", "deep one"), agent("b", "deep two")]}
        inner: JsonObject = {"pattern": "sequential", "steps": [agent("a", "inner"), {"id": "d", "workflow": "deep"}]}
        steps: list[JsonObject] = [
            {"id": "l", "loop": {"do": rounds, "while": "${{ iteration < 4 }}"}},
            {"id": "c", "workflow": "inner"},
        ]
        handle = await engine.start(steps, workflows={"inner": inner, "deep": deep})
        for expected in ({"judge 2": 1, "draft": 1, "judge 3": 1, "inner": 1, "deep one": 1}, {}):
            with pytest.raises(WorkflowFailureError):
                await handle.result()
            made = len(engine.upstream.calls)
            handle = await engine.retry(handle.id)
            if expected:
                with pytest.raises(WorkflowFailureError):
                    await handle.result()
                assert asked(engine, made) == expected | {"deep two": 1}
        assert await handle.result() == "fine"
        assert asked(engine, made) == {"deep two": 1}
        run = await engine.run(handle.id)
        assert {step.id: step.attempt for step in run.steps if step.attempt > 1} == {
            "l": 2,
            "l#2/judge": 2,
            "c": 2,
            "c/d": 2,
            "c/d/b": 2,
        }

    async def test_one_that_was_terminated_starts_its_child_anew_though_that_is_still_closing(
        self, engine: Engine
    ) -> None:
        engine.upstream.when("hold", Reply(text="late", hold_after=0), Reply(text="fine"))
        inner: JsonObject = {"pattern": "sequential", "steps": [agent("a", "hold")]}
        handle = await engine.start(
            [agent("first", "first"), {"id": "c", "workflow": "inner"}], workflows={"inner": inner}
        )
        await engine.upstream.wait_for_calls(1, "held")
        progress = await handle.query(PROGRESS, result_type=RunProgress)
        await handle.terminate()
        again = await engine.retry(handle.id, progress.steps)
        assert await asyncio.wait_for(again.result(), 30) == "fine"
        assert asked(engine) == {"first": 1, "hold": 2}
        await engine.upstream.wait_for_calls(1, "abandoned")
