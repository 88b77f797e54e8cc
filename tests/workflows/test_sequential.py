import asyncio

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError, CancelledError

from studio.contracts.base import JsonObject
from tests.support.platform import Engine
from tests.support.scripted_upstream import Reply


@pytest.fixture
def database_url(either_database: str) -> str:
    return either_database


def agent(step_id: str, message: str, **fields: object) -> JsonObject:
    return {"id": step_id, "agent": {"message": message}, **fields}


class TestRun:
    async def test_each_step_sees_what_came_before(self, engine: Engine) -> None:
        engine.upstream.when("topic: rivers", Reply(text="a plan"))
        engine.upstream.when("use a plan", Reply(text="an essay"))
        steps = [
            agent("plan", "topic: {{ topic }}", input={"topic": "${{ input.topic }}"}),
            {"id": "note", "transform": {"text": "use ${{ steps.plan.output }}"}},
            agent("write", "{{ text }}"),
        ]
        handle = await engine.start(steps, {"topic": "rivers"}, output="${{ {'essay': steps.write.output} }}")
        assert await handle.result() == {"essay": "an essay"}
        run = await engine.run(handle.id)
        assert run.status == "succeeded"
        assert run.output == {"essay": "an essay"}
        assert [(step.id, step.status) for step in run.steps] == [
            ("plan", "succeeded"),
            ("note", "succeeded"),
            ("write", "succeeded"),
        ]
        assert run.usage.llm_calls == 2
        assert run.usage.total_tokens == sum(step.usage.total_tokens for step in run.steps)
        assert str(run.cost_usd) == f"{run.usage.total_tokens / 1_000_000:.6f}"

    async def test_events_tell_the_story_in_order(self, engine: Engine) -> None:
        engine.upstream.default = Reply(text="one two three")
        handle = await engine.start([agent("first", "hello"), {"id": "last", "transform": "${{ prev.output }}!"}])
        await handle.result()
        events = await engine.events(handle.id)
        assert [(event.type, event.step_id) for event in events] == [
            ("run.started", None),
            ("step.started", "first"),
            ("token", "first"),
            ("token", "first"),
            ("token", "first"),
            ("step.succeeded", "first"),
            ("usage", "first"),
            ("step.started", "last"),
            ("step.succeeded", "last"),
            ("run.succeeded", None),
        ]
        assert "".join(str(event.data["text"]) for event in events if event.type == "token") == "one two three"
        assert events[-1].data["output"] == "one two three!"

    async def test_a_skipped_step_leaves_prev_alone(self, engine: Engine) -> None:
        steps: list[JsonObject] = [
            {"id": "a", "transform": 1},
            {"id": "b", "when": "${{ input.go }}", "transform": 2},
            {"id": "c", "transform": "${{ [prev.output, steps.b.output, steps.b.status] }}"},
        ]
        handle = await engine.start(steps, {"go": False})
        assert await handle.result() == [1, None, "skipped"]

    async def test_blocks_nest(self, engine: Engine) -> None:
        inner: JsonObject = {"id": "c", "transform": "${{ steps.a.output + 1 }}"}
        steps: list[JsonObject] = [
            {"id": "a", "transform": 1},
            {"id": "b", "sequential": {"steps": [{"id": "d", "sequential": {"steps": [inner]}}]}},
            {"id": "e", "transform": "${{ steps.b.output + steps.c.output }}"},
        ]
        handle = await engine.start(steps)
        assert await handle.result() == 4
        run = await engine.run(handle.id)
        assert [step.id for step in run.steps] == ["a", "b", "b/d", "b/d/c", "e"]


class TestFailure:
    async def test_an_expression_that_fails_ends_the_run_and_names_the_step(self, engine: Engine) -> None:
        handle = await engine.start([{"id": "bad", "transform": "${{ input.missing }}"}], {})
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
        assert isinstance(caught.value.cause, ApplicationError)
        assert caught.value.cause.type == "expression_error"
        run = await engine.run(handle.id)
        assert run.status == "failed"
        assert run.error is not None
        assert run.error.step_id == "bad"
        assert "missing" in run.error.message

    async def test_a_call_is_retried_and_its_tokens_superseded(self, engine: Engine) -> None:
        engine.upstream.when("hello", Reply(text="a b c d", break_after=2), Reply(text="whole answer"))
        handle = await engine.start([agent("ask", "hello", retry={"initial_interval": "10ms"})])
        assert await handle.result() == "whole answer"
        run = await engine.run(handle.id)
        assert run.steps[0].attempt == 2
        assert run.usage.llm_calls == 2
        retrying = [event for event in await engine.events(handle.id) if event.type == "step.retrying"]
        assert [(event.attempt, event.data["superseded_attempt"]) for event in retrying] == [(2, 1)]
        final = [e for e in await engine.events(handle.id) if e.type == "token" and e.attempt == 2]
        assert "".join(str(event.data["text"]) for event in final) == "whole answer"

    async def test_attempts_end_with_the_upstreams_error(self, engine: Engine) -> None:
        engine.upstream.default = Reply(status=503, error={"error": {"message": "overloaded"}})
        retry: JsonObject = {"max_attempts": 3, "initial_interval": "10ms"}
        handle = await engine.start([agent("ask", "hello", retry=retry)])
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        run = await engine.run(handle.id)
        assert run.error is not None
        assert (run.error.type, run.error.step_id) == ("upstream_error", "ask")
        assert "overloaded" in run.error.message
        assert run.steps[0].attempt == 3
        assert len(engine.upstream.calls) == 3

    async def test_a_refused_request_is_not_retried(self, engine: Engine) -> None:
        engine.upstream.default = Reply(status=400, error={"error": {"message": "context too long"}})
        handle = await engine.start([agent("ask", "hello")])
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        run = await engine.run(handle.id)
        assert run.error is not None
        assert run.error.type == "invalid_request"
        assert len(engine.upstream.calls) == 1

    async def test_the_types_a_step_names_are_not_retried(self, engine: Engine) -> None:
        engine.upstream.default = Reply(status=503)
        retry: JsonObject = {"initial_interval": "10ms", "non_retryable": ["upstream_error"]}
        handle = await engine.start([agent("ask", "hello", retry=retry)])
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        assert len(engine.upstream.calls) == 1

    async def test_a_step_past_its_timeout_fails_and_its_call_is_closed(self, engine: Engine) -> None:
        engine.upstream.default = Reply(text="a b", hold_after=1)
        handle = await engine.start([agent("ask", "hello", timeout="500ms")])
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        run = await engine.run(handle.id)
        assert run.error is not None
        assert run.error.type == "timeout"
        async with asyncio.timeout(10):
            await engine.upstream.wait_for_calls(1, "abandoned")

    async def test_timeouts_of_an_attempt_are_not_retried_when_the_step_says_so(self, engine: Engine) -> None:
        """The server knows them by a name of its own."""
        engine.upstream.default = Reply(text="a b", hold_after=1)
        retry: JsonObject = {"max_attempts": 3, "initial_interval": "10ms", "non_retryable": ["timeout"]}
        handle = await engine.start([agent("ask", "hello", retry=retry, timeout="20s")])
        history = await handle.fetch_history()
        await engine.upstream.wait_for_calls(1, "held")
        history = await handle.fetch_history()
        (scheduled,) = [
            event.activity_task_scheduled_event_attributes
            for event in history.events
            if event.HasField("activity_task_scheduled_event_attributes")
        ]
        names = list(scheduled.retry_policy.non_retryable_error_types)
        assert names == ["TemporalTimeout:StartToClose", "TemporalTimeout:Heartbeat"]
        await handle.terminate()

    async def test_a_value_that_grows_too_deep_fails_its_step(self, engine: Engine) -> None:
        wrapped: JsonObject = {"value": "${{ prev.output }}"}
        for _ in range(60):
            wrapped = {"x": wrapped}
        steps: list[JsonObject] = [{"id": f"t{n}", "transform": wrapped} for n in range(1, 4)]
        handle = await engine.start([{"id": "t0", "transform": 1}, *steps, agent("ask", "hello")])
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        run = await engine.run(handle.id)
        assert run.error is not None
        assert (run.error.type, run.error.step_id) == ("payload_too_large", "t2")
        assert "100 levels" in run.error.message

    async def test_parameters_that_no_model_takes_are_not_retried(self, engine: Engine) -> None:
        steps: list[JsonObject] = [{"id": "ask", "agent": {"message": "hello", "params": {"tools": "nope"}}}]
        handle = await engine.start(steps)
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        run = await engine.run(handle.id)
        assert run.error is not None
        assert run.error.type == "invalid_request"
        assert "tools" in run.error.message

    async def test_a_template_that_fails_names_the_variable(self, engine: Engine) -> None:
        handle = await engine.start([agent("ask", "hello {{ nobody }}")], {})
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        run = await engine.run(handle.id)
        assert run.error is not None
        assert run.error.type == "prompt_error"
        assert "nobody" in run.error.message
        assert engine.upstream.calls == []


class TestUsage:
    async def test_a_failed_attempts_tokens_count(self, engine: Engine) -> None:
        broken = Reply(text="a b c", usage_shape="cumulative", break_after=3)
        engine.upstream.when("hello", broken, Reply(text="d"))
        handle = await engine.start([agent("ask", "hello", retry={"initial_interval": "10ms"})])
        await handle.result()
        run = await engine.run(handle.id)
        spans = [span for span in await engine.spans.wait_for(4) if span.kind == "llm"]
        assert run.usage.llm_calls == len(spans) == 2
        assert run.usage.total_tokens == sum(span.prompt_tokens + span.completion_tokens for span in spans)


class TestEvents:
    async def test_what_a_call_that_never_ran_was_to_tell_is_told(self, engine: Engine) -> None:
        engine.upstream.when("hold", Reply(text="a b", hold_after=1))
        fillers = [await engine.start([agent("fill", "hold")]) for _ in range(engine.settings.worker_max_activities)]
        await engine.upstream.wait_for_calls(len(fillers), "held")
        late = await engine.start([{"id": "first", "transform": 1}, agent("ask", "hello", timeout="500ms")])
        with pytest.raises(WorkflowFailureError):
            await late.result()
        assert [event.type for event in await engine.events(late.id)] == [
            "run.started",
            "step.started",
            "step.succeeded",
            "step.started",
            "step.failed",
            "run.failed",
        ]
        engine.upstream.release()
        await asyncio.gather(*(handle.result() for handle in fillers))


class TestCancel:
    async def test_it_closes_the_upstreams_connection_and_nothing_follows(self, engine: Engine) -> None:
        engine.upstream.default = Reply(tokens=["x "], endless=True, token_delay=0.01)
        handle = await engine.start([agent("ask", "hello"), agent("next", "never")])
        await engine.upstream.wait_for_calls(1, "open")
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
        assert isinstance(caught.value.cause, CancelledError)
        await engine.upstream.wait_for_calls(1, "abandoned")
        run = await engine.run(handle.id)
        assert run.status == "cancelled"
        assert [(step.id, step.status) for step in run.steps] == [("ask", "cancelled"), ("next", "skipped")]
        assert (await engine.events(handle.id))[-1].type == "run.cancelled"
        assert len(engine.upstream.calls) == 1
