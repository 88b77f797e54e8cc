import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest
from temporalio.activity import ActivityCancellationDetails
from temporalio.testing import ActivityEnvironment

from activities.llm import LLMActivities
from activities.run_events import RunEvents
from studio.clients.llm import LlmClient
from studio.contracts.activities import CompletionRequest, CompletionResult, Opening, StepContext
from studio.store.answers import AnswerCache
from studio.store.conversations import ConversationStore
from tests.support.platform import Engine, open_engine, scripted_llm_engine, worker_settings
from tests.support.scripted_upstream import Reply
from tests.support.span_sink import SpanSink


@pytest.fixture
async def engine(tmp_path: Path, temporal_address: str, redis_url: str) -> AsyncGenerator[Engine]:
    """Without a worker: the tests call the activity."""
    async with SpanSink() as spans, scripted_llm_engine(spans.url) as (llm_url, upstream):
        settings = worker_settings(tmp_path, temporal_address=temporal_address, redis_url=redis_url, llm_url=llm_url)
        async with open_engine(settings, upstream, spans, worker=False) as running:
            yield running


async def complete(
    engine: Engine, run_id: str, *, activity_id: str, attempt: int, environment: ActivityEnvironment | None = None
) -> CompletionResult:
    settings = engine.settings
    environment = environment or ActivityEnvironment()
    environment.info = replace(environment.info, workflow_id=run_id, activity_id=activity_id, attempt=attempt)
    request = CompletionRequest(
        step=StepContext(path="ask", agent="ask", attempts_before=0, events=[]),
        opening=Opening(instructions="Be brief.", message="Hello?", input=None),
        model="default",
    )
    async with LlmClient(settings.llm_url) as llm, AnswerCache(settings.redis_url) as answers:
        events = RunEvents(engine.stream, engine.database)
        activities = LLMActivities(llm, ConversationStore(engine.database), events, answers)
        return await environment.run(activities.complete_chat, request)


class TestKeptAnswer:
    async def test_one_whose_report_was_lost_is_not_asked_for_again(self, engine: Engine) -> None:
        run_id = (await engine.start([{"id": "ask", "agent": {}}])).id
        first = await complete(engine, run_id, activity_id="1", attempt=1)
        again = await complete(engine, run_id, activity_id="1", attempt=2)
        assert again == first.model_copy(update={"attempt": 2})
        assert (again.usage.llm_calls, again.length) == (1, 3)
        assert len(engine.upstream.calls) == 1

    async def test_another_call_of_the_step_is_made(self, engine: Engine) -> None:
        run_id = (await engine.start([{"id": "ask", "agent": {}}])).id
        for activity_id in ("1", "2"):
            await complete(engine, run_id, activity_id=activity_id, attempt=2)
        assert len(engine.upstream.calls) == 2

    @pytest.mark.parametrize("fate", ["timed_out", "not_found"])
    async def test_one_that_comes_while_its_attempt_is_given_up_is_not_asked_for_again(
        self, engine: Engine, fate: str
    ) -> None:
        """So it is after a machine stood still."""
        engine.upstream.when("Hello?", Reply(text="late", hold_after=0))
        run_id = (await engine.start([{"id": "ask", "agent": {}}])).id
        environment = ActivityEnvironment()
        first = asyncio.create_task(complete(engine, run_id, activity_id="1", attempt=1, environment=environment))
        await engine.upstream.wait_for_calls(1, "held")
        environment.cancel(ActivityCancellationDetails(**{fate: True}))
        engine.upstream.release()
        with pytest.raises(asyncio.CancelledError):
            await first
        again = await complete(engine, run_id, activity_id="1", attempt=2)
        assert again.text == "late"
        assert [call.outcome for call in engine.upstream.calls] == ["answered"]

    async def test_one_that_nobody_wants_is_not_waited_for(self, engine: Engine) -> None:
        engine.upstream.when("Hello?", Reply(text="late", hold_after=0))
        run_id = (await engine.start([{"id": "ask", "agent": {}}])).id
        environment = ActivityEnvironment()
        first = asyncio.create_task(complete(engine, run_id, activity_id="1", attempt=1, environment=environment))
        await engine.upstream.wait_for_calls(1, "held")
        environment.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await engine.upstream.wait_for_calls(1, "abandoned")
