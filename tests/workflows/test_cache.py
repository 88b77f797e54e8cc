"""Steps with a `cache`, on a real Temporal server and Redis."""

import pytest
from temporalio.client import WorkflowFailureError

from studio.contracts.base import Json, JsonObject
from studio.contracts.ids import new_trace_id
from tests.support.platform import Engine
from tests.support.scripted_upstream import Reply


@pytest.fixture
def word() -> str:
    """Something that no other test has asked: they share Redis."""
    return new_trace_id()


def ask(step_id: str, given: Json, **cache: Json) -> JsonObject:
    return {"id": step_id, "agent": {"message": "{{ input }}"}, "input": given, "cache": {"ttl": "1h"} | cache}


class TestCache:
    async def test_the_same_question_is_asked_once(self, engine: Engine, word: str) -> None:
        engine.upstream.when(word, Reply(text="answer"))
        handle = await engine.start([ask("a", word), ask("b", word)], output="${{ [steps.a.output, steps.b.output] }}")
        assert await handle.result() == ["answer", "answer"]
        run = await engine.run(handle.id)
        assert [(step.cached, step.usage.llm_calls) for step in run.steps] == [(False, 1), (True, 0)]
        assert run.steps[1].cost_usd is None
        again = await engine.start([ask("c", word)])
        assert await again.result() == "answer"
        assert len(engine.upstream.calls) == 1
        told = [event.data.get("cached") for event in await engine.events(again.id) if event.type == "step.succeeded"]
        assert told == [True]

    async def test_another_question_or_another_agent_is_not_the_same(self, engine: Engine, word: str) -> None:
        other = ask("c", word) | {"agent": {"message": "{{ input }}", "instructions": "Be brief."}}
        handle = await engine.start([ask("a", word), ask("b", f"{word}!"), other])
        await handle.result()
        assert len(engine.upstream.calls) == 3

    async def test_the_key_says_what_is_the_same(self, engine: Engine, word: str) -> None:
        key = "${{ input.k }}"
        steps = [ask("a", f"{word} one", key=key), ask("a2", f"{word} two", key=key)]
        steps = [step | {"agent": "writer"} for step in steps]
        handle = await engine.start(steps, {"k": word}, agents={"writer": {"message": "{{ input }}"}})
        await handle.result()
        assert len(engine.upstream.calls) == 1

    async def test_after_its_time_it_is_asked_again(self, engine: Engine, word: str) -> None:
        pause: JsonObject = {"id": "w", "wait": {"for": "300ms"}}
        handle = await engine.start([ask("a", word, ttl="100ms"), pause, ask("b", word, ttl="100ms")])
        await handle.result()
        assert len(engine.upstream.calls) == 2

    async def test_an_answer_that_does_not_fit_is_not_kept(self, engine: Engine, word: str) -> None:
        engine.upstream.when(word, Reply(text="no JSON"), Reply(text='{"n": 1}'))
        step = ask("a", word) | {"output_schema": {"type": "object", "required": ["n"]}}
        failing = await engine.start([step])
        with pytest.raises(WorkflowFailureError):
            await failing.result()
        assert await (await engine.start([step])).result() == {"n": 1}
