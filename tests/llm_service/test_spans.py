"""Every call leaves a span."""

from decimal import Decimal
from typing import Any

import orjson
import pytest

from tests.llm_service.test_faults import chat, events, post
from tests.support.llm_engine import StartEngine
from tests.support.scripted_upstream import Reply, ScriptedTool, ScriptedUpstream
from tests.support.span_sink import SpanSink

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class TestSpan:
    @pytest.mark.parametrize("stream", [False, True])
    async def test_says_who_what_and_how_much(
        self, engine: str, upstream: ScriptedUpstream, sink: SpanSink, stream: bool
    ) -> None:
        upstream.when("hello", Reply(text="Hi you.", headers={"x-request-id": "up-1"}))
        headers = {
            "traceparent": f"00-{TRACE}-{PARENT}-01",
            "X-Studio-Project": "sales",
            "X-Studio-Prompt": "greet@3",
            "X-Studio-Run": "run_1",
            "X-Studio-Step": "write",
            "X-Studio-Metadata": '{"team": "blue", "size": 3}',
            "X-Session-Id": "s-1",
            "X-User-Id": "u-1",
            "X-Request-Id": "r-1",
        }
        status, answered, _ = await post(engine, chat(temperature=0.5, model="small", stream=stream), **headers)
        span = await sink.one()
        assert status == 200
        assert answered["x-studio-trace-id"] == span.trace_id == TRACE
        assert answered["x-request-id"] == "r-1"
        assert (span.parent_span_id, span.kind, span.name) == (PARENT, "llm", "chat scripted")
        assert (span.project_id, span.session_id, span.user_id) == ("sales", "s-1", "u-1")
        assert (span.run_id, span.step_id) == ("run_1", "write")
        assert (span.prompt_id, span.prompt_version) == ("greet", 3)
        assert (span.model, span.upstream, span.params) == ("scripted", "up", {"temperature": 0.5})
        assert span.input == [{"role": "user", "content": "hello"}]
        assert span.output == {"role": "assistant", "content": "Hi you."}
        assert (span.prompt_tokens, span.completion_tokens, span.usage_source) == (10, 2, "provider")
        assert (span.cost_usd, span.cost_source) == (Decimal("0.000014"), "computed")
        assert span.price_revision == "configured"
        assert span.status == "ok"
        assert span.started_at <= span.ended_at
        assert (span.ttft_ms is not None) == stream
        assert span.overhead_ms is not None
        assert span.metadata == {
            "team": "blue",
            "size": "3",
            "request_id": "r-1",
            "upstream_request_id": "up-1",
            "finish_reason": "stop",
        }
        sent = upstream.calls[0].headers
        assert sent["traceparent"] == f"00-{TRACE}-{span.span_id}-01"
        assert sent["x-request-id"] == "r-1"

    @pytest.mark.parametrize("traceparent", ["", "nonsense", f"00-{'0' * 32}-{PARENT}-01"])
    async def test_without_a_trace_begins_one(self, engine: str, sink: SpanSink, traceparent: str) -> None:
        await post(engine, chat(), traceparent=traceparent)
        span = await sink.one()
        assert len(span.trace_id) == 32
        assert span.trace_id.strip("0")
        assert span.parent_span_id is None

    @pytest.mark.parametrize("stream", [False, True])
    async def test_holds_tool_calls_whole(
        self, engine: str, upstream: ScriptedUpstream, sink: SpanSink, stream: bool
    ) -> None:
        tools = [ScriptedTool(id="a", name="f", arguments='{"x": 12345}'), ScriptedTool(id="b", name="g")]
        upstream.when("hello", Reply(tokens=[], tool_calls=tools))
        await post(engine, chat(stream=stream))
        assert (await sink.one()).output == {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": 12345}'}},
                {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
            ],
        }

    async def test_without_content_when_the_settings_say_so(self, start_engine: StartEngine, sink: SpanSink) -> None:
        async with start_engine(settings={"trace_content": "off"}) as url:
            for stream in (False, True):
                await post(url, chat(stream=stream))
            spans = await sink.wait_for(2)
        assert [(span.input, span.output, span.completion_tokens) for span in spans] == [(None, None, 4)] * 2
        assert spans[1].ttft_ms is not None

    async def test_of_embeddings_holds_no_vectors(self, engine: str, sink: SpanSink) -> None:
        await post(engine, {"model": "up/scripted", "input": ["a", "b"]}, "/v1/embeddings")
        span = await sink.one()
        assert (span.kind, span.name, span.input, span.output) == ("embedding", "embeddings scripted", ["a", "b"], None)
        assert (span.prompt_tokens, span.completion_tokens) == (8, 0)

    async def test_of_text(self, engine: str, upstream: ScriptedUpstream, sink: SpanSink) -> None:
        upstream.when("Once", Reply(text="upon a time"))
        for stream in (False, True):
            await post(engine, {"model": "up/scripted", "prompt": "Once", "stream": stream}, "/v1/completions")
        spans = await sink.wait_for(2)
        assert [(span.name, span.input, span.output) for span in spans] == [
            ("text_completion scripted", "Once", "upon a time")
        ] * 2

    async def test_of_an_unknown_model(self, engine: str, sink: SpanSink) -> None:
        await post(engine, chat(model="nowhere/gpt"))
        span = await sink.one()
        assert (span.status, span.error_type, span.model) == ("error", "model-not-found", "nowhere/gpt")

    async def test_of_an_error_of_the_upstream(self, engine: str, upstream: ScriptedUpstream, sink: SpanSink) -> None:
        upstream.when("hello", Reply(status=404, error={"error": {"message": "gone"}}))
        await post(engine, chat())
        span = await sink.one()
        assert (span.status, span.error_type, span.error_message) == ("error", "upstream-404", "gone")
        assert (span.usage_source, span.cost_usd, span.cost_source) == ("none", None, "unpriced")


DETAILED: dict[str, Any] = {
    "prompt_tokens": 100,
    "completion_tokens": 50,
    "total_tokens": 150,
    "prompt_tokens_details": {"cached_tokens": 40},
    "completion_tokens_details": {"reasoning_tokens": 20},
}
OTHER_SPELLING: dict[str, Any] = {
    "input_tokens": 100,
    "output_tokens": 50,
    "input_tokens_details": {"cached_tokens": 40},
    "output_tokens_details": {"reasoning_tokens": 20},
}


class TestUsage:
    @pytest.mark.parametrize("usage", [DETAILED, OTHER_SPELLING], ids=["chat spelling", "responses spelling"])
    @pytest.mark.parametrize("shape", ["last", "beside", "cumulative"])
    @pytest.mark.parametrize("asks", [False, True])
    async def test_streamed_and_whole_cost_the_same(
        self, engine: str, upstream: ScriptedUpstream, sink: SpanSink, usage: dict[str, Any], shape: Any, asks: bool
    ) -> None:
        upstream.when("hello", Reply(usage=usage, usage_shape=shape))
        _, headers, _ = await post(engine, chat())
        options = {"include_usage": True} if asks else {"include_obfuscation": False}
        _, _, body = await post(engine, chat(stream=True, stream_options=options))
        # 60 fresh at 1.00, 40 cached at 0.10, 50 written at 2.00, each for a million
        assert headers["x-studio-cost-usd"] == "0.000164"
        spans = await sink.wait_for(2)
        assert [span.cost_usd for span in spans] == [Decimal("0.000164")] * 2
        assert [(span.cached_tokens, span.reasoning_tokens) for span in spans] == [(40, 20)] * 2
        shown: list[dict[str, Any]] = [event["usage"] for event in events(body)[:-1] if event.get("usage")]
        if asks:
            assert shown
            assert all(one["cost_usd"] == "0.000164" for one in shown)
            assert shown[-1] | {"cost_usd": None} == usage | {"cost_usd": None}
        else:
            assert b'"usage"' not in body
        assert upstream.calls[-1].body["stream_options"] == options | {"include_usage": True}

    @pytest.mark.parametrize("stream", [False, True])
    async def test_none_at_all_has_no_cost(
        self, engine: str, upstream: ScriptedUpstream, sink: SpanSink, stream: bool
    ) -> None:
        upstream.when("hello", Reply(usage_shape="never"))
        _, headers, _ = await post(engine, chat(stream=stream, stream_options={"include_usage": True}))
        span = await sink.one()
        assert "x-studio-cost-usd" not in headers
        assert (span.usage_source, span.cost_usd, span.cost_source) == ("none", None, "unpriced")

    @pytest.mark.parametrize("stream", [False, True])
    async def test_a_model_without_a_price_costs_null(self, engine: str, sink: SpanSink, stream: bool) -> None:
        request = chat(model="up/homegrown", stream=stream, stream_options={"include_usage": True})
        _, headers, body = await post(engine, request)
        span = await sink.one()
        assert "x-studio-cost-usd" not in headers
        assert (span.completion_tokens, span.cost_usd, span.cost_source) == (4, None, "unpriced")
        if stream:
            assert orjson.loads(body.split(b"data: ")[-2])["usage"]["cost_usd"] is None

    async def test_of_a_broken_stream_is_partial(self, engine: str, upstream: ScriptedUpstream, sink: SpanSink) -> None:
        upstream.when("hello", Reply(text="one two three", usage_shape="cumulative", break_after=2))
        await post(engine, chat(stream=True))
        span = await sink.one()
        assert (span.status, span.usage_source, span.completion_tokens) == ("incomplete", "partial", 2)
        assert span.cost_usd == Decimal("0.000014")
