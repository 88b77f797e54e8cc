"""The typed client against a real LLM engine in front of a scripted upstream."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from decimal import Decimal
from typing import Any

import pytest

from llm_service.app import create_app
from llm_service.settings import LlmSettings
from studio.clients.llm import LlmClient, LlmInterrupted, LlmRateLimited, LlmRefused, LlmUnavailable
from studio.contracts.llm import CallContext, ChatAssembly, ChatRequest, Message
from studio.settings import load_settings
from tests.support.asgi_server import serving
from tests.support.scripted_upstream import Reply, ScriptedTool, ScriptedUpstream
from tests.support.span_sink import SpanSink

HELLO = ChatRequest(model="up/scripted", messages=[Message(role="user", content="hello")])


@pytest.fixture
async def upstream() -> AsyncGenerator[ScriptedUpstream]:
    async with ScriptedUpstream() as server:
        yield server


@pytest.fixture
async def sink() -> AsyncGenerator[SpanSink]:
    async with SpanSink() as server:
        yield server


@pytest.fixture
async def client(upstream: ScriptedUpstream, sink: SpanSink) -> AsyncGenerator[LlmClient]:
    prices = {"scripted": {"input_per_million": "1", "output_per_million": "2"}}
    upstreams: list[Any] = [{"name": "up", "base_url": upstream.url, "retries": 0, "prices": prices}]
    settings = load_settings(
        LlmSettings, upstreams=upstreams, prompt_url=sink.url, stream_ping_seconds=0.1, model_aliases={}
    )
    async with serving(create_app(settings)) as url, LlmClient(url) as llm:
        yield llm


async def assemble(client: LlmClient, request: ChatRequest = HELLO) -> ChatAssembly:
    assembly = ChatAssembly()
    async for delta in client.stream_chat(request):
        assembly.add(delta)
    return assembly


class TestStreamChat:
    async def test_gives_text_reasoning_tool_calls_usage_and_cost(
        self, client: LlmClient, upstream: ScriptedUpstream
    ) -> None:
        tool = ScriptedTool(name="f", arguments='{"x": 1}')
        upstream.when("hello", Reply(tokens=["a", "b"], reasoning=["hm"], tool_calls=[tool]))
        answer = await assemble(client)
        assert (answer.text, answer.reasoning, answer.finish_reason) == ("ab", "hm", "tool_calls")
        message = answer.message()
        assert message.tool_calls is not None
        assert message.tool_calls[0].function.arguments == '{"x": 1}'
        assert answer.usage is not None
        assert (answer.usage.total_tokens, answer.cost_usd, answer.model) == (12, Decimal("0.000014"), "scripted")

    async def test_sends_its_context_and_only_what_was_given(
        self, client: LlmClient, upstream: ScriptedUpstream, sink: SpanSink
    ) -> None:
        context = CallContext(run_id="run_1", step_id="s", prompt="p@2", metadata={"a": "b"})
        request = ChatRequest.model_validate(HELLO.body() | {"temperature": 0})
        deltas = [delta async for delta in client.stream_chat(request, context)]
        span = await sink.one()
        assert {delta.trace_id for delta in deltas} == {span.trace_id}
        assert {delta.upstream for delta in deltas} == {"up"}
        assert (span.run_id, span.step_id, span.prompt_id, span.prompt_version) == ("run_1", "s", "p", 2)
        assert upstream.calls[0].body == {
            "model": "scripted",
            "messages": [{"role": "user", "content": "hello"}],
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }

    async def test_cancelling_the_task_reaches_the_upstream(
        self, client: LlmClient, upstream: ScriptedUpstream
    ) -> None:
        upstream.when("hello", Reply(hold_after=1))
        task = asyncio.create_task(assemble(client))
        await upstream.wait_for_calls(1, "held")
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        async with asyncio.timeout(0.5):
            await upstream.wait_for_calls(1, "abandoned")


class TestErrors:
    @pytest.mark.parametrize(
        ("reply", "kind"),
        [
            (Reply(status=500), LlmUnavailable),
            (Reply(status=429, headers={"Retry-After": "20"}), LlmRateLimited),
            (Reply(status=429, error={"error": {"code": "insufficient_quota"}}), LlmRefused),
            (Reply(status=400), LlmRefused),
            (Reply(break_after=2), LlmInterrupted),
        ],
        ids=["500", "429", "quota", "400", "broken"],
    )
    async def test_are_named_by_what_to_do(
        self, client: LlmClient, upstream: ScriptedUpstream, reply: Reply, kind: type[Exception]
    ) -> None:
        upstream.when("hello", reply)
        with pytest.raises(kind) as raised:
            await assemble(client)
        assert isinstance(raised.value, LlmUnavailable | LlmRateLimited | LlmInterrupted | LlmRefused)
        assert raised.value.retryable == (kind is not LlmRefused)
        assert raised.value.upstream == "up"
        if reply.headers:
            assert raised.value.retry_after == 20

    async def test_after_pings_are_the_same(self, client: LlmClient, upstream: ScriptedUpstream) -> None:
        upstream.when("hello", Reply(status=400, delay=0.3))
        with pytest.raises(LlmRefused, match="scripted 400"):
            await assemble(client)

    async def test_an_unknown_model_is_refused(self, client: LlmClient) -> None:
        with pytest.raises(LlmRefused, match="No model 'nowhere/x'") as raised:
            await assemble(client, HELLO.model_copy(update={"model": "nowhere/x"}))
        assert raised.value.upstream_status == 404

    async def test_labels_in_any_script_reach_the_span(
        self, client: LlmClient, upstream: ScriptedUpstream, sink: SpanSink
    ) -> None:
        upstream.when("hello", Reply(text="Hi."))
        names = {"session_id": "Zoë 北京", "user_id": "Łukasz", "project_id": "größe", "step_id": "schritt/é"}
        context = CallContext(**names, prompt="grüße@3", metadata={"stadt": "北京"})
        async for _ in client.stream_chat(HELLO, context):
            pass
        span = await sink.one()
        assert {name: getattr(span, name) for name in names} == names
        assert (span.prompt_id, span.prompt_version) == ("grüße", 3)
        assert span.metadata["stadt"] == "北京"

    async def test_an_engine_that_is_not_there_is_unavailable(self) -> None:
        async with LlmClient("http://127.0.0.1:9") as llm:
            with pytest.raises(LlmUnavailable):
                await assemble(llm)
