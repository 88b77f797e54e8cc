"""Attempts that are shown are calls that were made; a failed one says why, and when the next one comes."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.common import RetryPolicy
from temporalio.testing import ActivityEnvironment

from activities.failures import as_application_error, next_attempt_at
from studio.clients.llm import LlmClient, LlmRateLimited, LlmUnavailable
from studio.contracts.activities import FailureDetails
from studio.contracts.base import JsonObject
from studio.contracts.llm import ChatRequest
from tests.api.conftest import Live
from tests.llm_service.test_faults import chat, post
from tests.support.llm_engine import StartEngine
from tests.support.scripted_upstream import Reply, ScriptedUpstream


def asking(**fields: Any) -> JsonObject:
    return {"id": "a", "agent": {"message": "{{ input }}"}, "input": "hello", **fields}


class TestOneAttemptIsOneCall:
    @pytest.mark.parametrize("status", [500, 503, 429])
    async def test_max_attempts_1(self, lite: Live, status: int) -> None:
        lite.upstream.when("hello", Reply(status=status, headers={"Retry-After": "0"}))
        await lite.workflow(asking(retry={"max_attempts": 1}))
        run = await lite.api.finished(await lite.start())
        assert run["status"] == "failed"
        (step,) = run["steps"]
        assert (len(lite.upstream.calls), step["attempt"], run["usage"]["llm_calls"]) == (1, 1, 1)

    async def test_a_block_around_multiplies_by_its_own_attempts_alone(self, lite: Live) -> None:
        lite.upstream.when("hello", Reply(status=500))
        quick = {"initial_interval": "10ms", "max_interval": "10ms"}
        inner = asking(retry={"max_attempts": 2, **quick})
        block = {"id": "block", "sequential": {"steps": [inner]}, "retry": {"max_attempts": 3, **quick}}
        await lite.workflow(block)
        run = await lite.api.finished(await lite.start())
        assert len(lite.upstream.calls) == 6
        assert run["usage"]["llm_calls"] == 6
        assert {step["id"]: step["attempt"] for step in run["steps"]} == {"block": 3, "block/a": 6}

    async def test_non_retryable_rate_limited(self, lite: Live) -> None:
        lite.upstream.when("hello", Reply(status=429))
        await lite.workflow(asking(retry={"non_retryable": ["rate_limited"]}))
        assert (await lite.api.finished(await lite.start()))["error"]["type"] == "rate_limited"
        assert len(lite.upstream.calls) == 1

    async def test_other_callers_keep_the_gateways_retries_and_may_want_fewer(
        self, engine: str, upstream: ScriptedUpstream
    ) -> None:
        upstream.when("hello", Reply(status=503))
        for asked, calls in ((None, 3), ("1", 2), ("0", 1), ("99", 3)):
            upstream.calls.clear()
            await post(engine, chat(), **({} if asked is None else {"X-Studio-Retries": asked}))
            assert len(upstream.calls) == calls

    @pytest.mark.parametrize("asked", ["-1", "many", "1.5", "100", "\u0661"])
    async def test_a_wrong_number_is_refused(self, engine: str, upstream: ScriptedUpstream, asked: str) -> None:
        status, _, body = await post(engine, chat(), **{"X-Studio-Retries": asked})
        assert (status, len(upstream.calls)) == (422, 0)
        assert b"X-Studio-Retries" in body


def failing(error: Exception, *, attempt: int, policy: RetryPolicy, **info: Any) -> tuple[timedelta | None, Any]:
    """The delay that the failure asks for, and how far away the next attempt is."""
    environment = ActivityEnvironment()
    limits = {"schedule_to_close_timeout": None, "scheduled_time": datetime.now(UTC), **info}
    environment.info = replace(environment.info, attempt=attempt, retry_policy=policy, **limits)

    def classify() -> tuple[timedelta | None, Any]:
        failure = as_application_error(error, FailureDetails())
        at = datetime.now(UTC)
        due = next_attempt_at(failure, at)
        return failure.next_retry_delay, due and due - at

    return environment.run(classify)


DEFAULT = RetryPolicy(
    initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30), maximum_attempts=10
)


class TestTheLargerOfBackoffAndRetryAfter:
    def test_a_short_retry_after_shortens_nothing(self) -> None:
        """An outage as long as documented fails no run: with the default policy the pauses add up to 151 s."""
        pauses: list[float] = []
        for attempt in range(1, 10):
            delay, due = failing(LlmUnavailable("away", retry_after=2), attempt=attempt, policy=DEFAULT)
            pauses.append(due.total_seconds())
            assert delay == (timedelta(seconds=2) if attempt == 1 else None)
        assert pauses == pytest.approx([2, 2, 4, 8, 16, 30, 30, 30, 30], abs=0.1)

    def test_a_long_one_counts_up_to_five_minutes(self) -> None:
        policy = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=3)
        assert failing(LlmRateLimited("slow", retry_after=60), attempt=1, policy=policy)[0] == timedelta(seconds=60)
        assert failing(LlmRateLimited("slow", retry_after=1e9), attempt=2, policy=policy)[0] == timedelta(minutes=5)

    def test_none_follows_the_last_one_or_the_deadline(self) -> None:
        error = LlmUnavailable("away")
        assert failing(error, attempt=10, policy=DEFAULT)[1] is None
        refusing = RetryPolicy(non_retryable_error_types=["upstream_error"])
        assert failing(error, attempt=1, policy=refusing)[1] is None
        soon = timedelta(milliseconds=1)
        assert failing(error, attempt=1, policy=DEFAULT, schedule_to_close_timeout=soon)[1] is None
        assert failing(TypeError("a bug"), attempt=1, policy=DEFAULT)[1] is None
        assert failing(RuntimeError("who knows"), attempt=1, policy=DEFAULT)[1] is not None


class TestRetriesSayWhyAndWhen:
    async def test_while_the_next_attempt_is_awaited(self, lite: Live) -> None:
        lite.upstream.when("hello", Reply(status=503, headers={"Retry-After": "1"}))
        await lite.workflow(asking(retry={"initial_interval": "1h", "max_interval": "1h"}))
        run_id = await lite.start()
        run = await lite.api.until(f"/runs/{run_id}", lambda run: bool(run["steps"]) and run["steps"][0]["retrying"])
        (step,) = run["steps"]
        assert (step["status"], step["attempt"]) == ("running", 2)
        assert step["retrying"]["error"]["type"] == "upstream_error"
        assert "scripted 503" in step["retrying"]["error"]["message"]
        wait = datetime.fromisoformat(step["retrying"]["next_attempt_at"]) - datetime.fromisoformat(step["started_at"])
        assert timedelta(minutes=59) < wait < timedelta(minutes=61)
        event = await last_event(lite, run_id)
        assert (event["type"], event["attempt"]) == ("step.retrying", 2)
        assert event["data"]["superseded_attempt"] == 1
        assert event["data"]["error"] == step["retrying"]["error"]
        assert event["data"]["next_attempt_at"] == step["retrying"]["next_attempt_at"]
        (await lite.api.post(f"/runs/{run_id}/cancel")).ok(202)
        run = await lite.api.finished(run_id)
        assert (run["status"], run["steps"][0]["retrying"]) == ("cancelled", None)

    async def test_once_for_each_attempt(self, lite: Live) -> None:
        lite.upstream.when("hello", Reply(status=500), Reply(status=503), Reply(text="done"))
        await lite.workflow(asking(retry={"initial_interval": "10ms"}))
        run_id = await lite.start()
        assert (await lite.api.finished(run_id))["output"] == "done"
        told = [event for event in await events(lite, run_id) if event["type"] == "step.retrying"]
        assert [event["attempt"] for event in told] == [2, 3]
        assert all(event["data"]["error"]["type"] == "upstream_error" for event in told)

    async def test_blocks_say_it_too(self, lite: Live) -> None:
        block = {
            "id": "block",
            "sequential": {"steps": [asking(retry={"max_attempts": 1})]},
            "retry": {"max_attempts": 2, "initial_interval": "1h", "max_interval": "1h"},
        }
        lite.upstream.when("hello", Reply(status=500))
        await lite.workflow(block)
        run_id = await lite.start()
        run = await lite.api.until(f"/runs/{run_id}", lambda run: any(step["retrying"] for step in run["steps"]))
        step = next(step for step in run["steps"] if step["id"] == "block")
        assert (step["attempt"], step["retrying"]["error"]["type"]) == (2, "upstream_error")
        (await lite.api.post(f"/runs/{run_id}/cancel")).ok(202)
        await lite.api.finished(run_id)


async def events(live: Live, run_id: str) -> list[JsonObject]:
    headers = {"Accept": "application/json"}
    return (await live.api.request("GET", f"/runs/{run_id}/events", headers=headers)).ok()["items"]


async def last_event(live: Live, run_id: str) -> JsonObject:
    return (await events(live, run_id))[-1]


@dataclass
class Closer:
    """Answers the first request on a connection, and closes that when the next one comes."""

    answers: list[int] = field(default_factory=list[int])
    """For each connection how many requests it has answered."""
    requests: int = 0
    begins: bool = False
    """Whether it begins to answer before it closes."""
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.answers.append(0)
        mine = len(self.answers) - 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                await reader.readexactly(length)
                self.requests += 1
                if self.answers[mine] == 1:
                    if self.begins:
                        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")
                        await writer.drain()
                    return
                self.answers[mine] += 1
                body = b'{"choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}]}'
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
                    + body
                )
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def closing() -> AsyncGenerator[Closer]:
    closer = Closer()
    server = await asyncio.start_server(closer.serve, "127.0.0.1", 0)
    closer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with server:
        yield closer


class TestAKeptConnectionThatTheUpstreamHasJustClosed:
    async def test_costs_no_call(self, start_engine: StartEngine) -> None:
        async with closing() as closer, start_engine(base_url=closer.url, retries=0) as url:
            for _ in range(6):
                assert (await post(url, chat()))[0] == 200
        assert sum(closer.answers) == 6

    async def test_an_answer_that_had_begun_is_not_asked_for_again(self, start_engine: StartEngine) -> None:
        async with closing() as closer, start_engine(base_url=closer.url, retries=0) as url:
            closer.begins = True
            assert (await post(url, chat()))[0] == 200
            assert (await post(url, chat()))[0] >= 500
            assert closer.requests == 2

    async def test_a_new_connection_that_is_closed_is_a_fault(self, start_engine: StartEngine) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            accepted = 0

            def hang_up() -> None:
                nonlocal accepted
                accepted += 1
                listener.accept()[0].close()

            loop = asyncio.get_running_loop()
            loop.add_reader(listener, hang_up)
            try:
                url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
                async with start_engine(base_url=url, retries=0) as engine:
                    assert (await post(engine, chat()))[0] == 503
                assert accepted == 1
            finally:
                loop.remove_reader(listener)


class TestWhatWasNeverAskedIsNoCall:
    async def test_an_engine_that_nobody_serves(self) -> None:
        request = ChatRequest.model_validate({"model": "m", "messages": [{"role": "user", "content": "x"}]})
        async with LlmClient("http://127.0.0.1:9") as client:
            with pytest.raises(LlmUnavailable, match="does not answer"):
                await anext(client.stream_chat(request))
