"""With `STUDIO_TRACE_CONTENT=off` nothing that anybody said is in any span, of whatever sender."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from studio.contracts.base import JsonObject
from studio.contracts.spans import Span
from studio.span_content import without_content
from studio.store.event_stream import EventStream
from tests.llm_service.test_faults import chat, post
from tests.support.databases import sqlite_database
from tests.support.llm_engine import StartEngine
from tests.support.platform import open_engine, scripted_llm_engine, worker_settings
from tests.support.scripted_upstream import Reply, ScriptedUpstream
from tests.support.span_sink import SpanSink

SAID = "canary-4711"
OFF: dict[str, Any] = {"settings": {"trace_content": "off"}}


def assert_silent(spans: Sequence[Span]) -> None:
    for span in spans:
        assert SAID not in span.model_dump_json(), span


FIELDS: list[JsonObject] = [
    {"prediction": {"type": "content", "content": SAID}},
    {"documents": [{"text": SAID}]},
    {"tools": [{"type": "function", "function": {"name": "f", "description": SAID}}]},
    {"tool_choice": {"type": "function", "function": {"name": SAID}}},
    {"suffix": SAID},
    {"stop": [SAID]},
    {"user": SAID},
    {"metadata": {"note": SAID}},
    {"logit_bias": {SAID: 1}},
    {"response_format": {"type": "json_schema", "json_schema": {"name": SAID}}},
    {"guided_regex": SAID},
    {"temperature": SAID},
    {"seed": [SAID]},
    {"reasoning_effort": SAID},
    {"service_tier": {"x": SAID}},
    {SAID: 1},
]


class TestModelCalls:
    @pytest.mark.parametrize("field", FIELDS, ids=lambda field: next(iter(field)))
    @pytest.mark.parametrize("stream", [False, True])
    async def test_no_field_of_the_request(
        self, start_engine: StartEngine, sink: SpanSink, field: JsonObject, stream: bool
    ) -> None:
        async with start_engine(**OFF) as url:
            await post(url, chat(SAID, stream=stream, **{"temperature": 0.5, **field}))
        span = await sink.one()
        assert_silent([span])
        assert (span.model, span.prompt_tokens) == ("scripted", 10)
        if "temperature" not in field:
            assert span.params == {"temperature": 0.5}

    @pytest.mark.parametrize(
        "reply",
        [
            Reply(text=f"well, {SAID}"),
            Reply(finish_reason=SAID),
            Reply(status=400, error={"error": {"message": f"bad prompt: {SAID}", "type": SAID, "code": SAID}}),
            Reply(status=400, error={"detail": SAID}),
            Reply(status=500, headers={"x-request-id": f"{SAID} {SAID}"}),
            Reply(headers={"x-request-id": f"says {SAID}", "openai-organization": SAID}),
            Reply(raw=[f'data: {{"error": {{"message": "{SAID}", "code": "{SAID}"}}}}\n\n']),
            Reply(raw=[f'data: {{"choices":[{{"index":0,"delta":{{"content":"{SAID}"}}}}]}}\n\n', "data: {"]),
            Reply(raw=[f"<html>{SAID}</html>"]),
        ],
        ids=["text", "finish", "refusal", "detail", "500", "headers", "in-band", "cut", "html"],
    )
    @pytest.mark.parametrize("stream", [False, True])
    async def test_no_word_of_the_answer(
        self, start_engine: StartEngine, upstream: ScriptedUpstream, sink: SpanSink, reply: Reply, stream: bool
    ) -> None:
        upstream.default = reply
        async with start_engine(retries=0, **OFF) as url:
            await post(url, chat("x", stream=stream))
        assert_silent([await sink.one()])

    @pytest.mark.parametrize(
        "body", [chat(SAID) | {"model": SAID}, {"model": "small", "messages": SAID}, {"model": "small", SAID: 1}]
    )
    async def test_nothing_of_a_call_that_we_refuse(
        self, start_engine: StartEngine, sink: SpanSink, body: JsonObject
    ) -> None:
        async with start_engine(**OFF) as url:
            assert (await post(url, body))[0] >= 400
        span = await sink.one()
        assert_silent([span])
        assert (span.status, span.error_type is None) == ("error", False)

    async def test_what_is_no_content_stays(self, start_engine: StartEngine, sink: SpanSink) -> None:
        plain: JsonObject = {"temperature": 0, "seed": 7, "parallel_tool_calls": False, "reasoning_effort": "low"}
        async with start_engine(**OFF) as url:
            await post(url, chat("x", **plain), **{"X-Studio-Metadata": '{"team":"blue"}'})
        span = await sink.one()
        assert span.params == plain
        assert (span.metadata["team"], span.metadata["finish_reason"]) == ("blue", "stop")
        assert (span.cost_source, span.upstream) == ("computed", "up")


class TestRuns:
    async def test_neither_the_runs_span_nor_its_steps(
        self, tmp_path: Path, temporal_address: str, redis_url: str
    ) -> None:
        async with SpanSink() as sink, scripted_llm_engine(sink.url, trace_content="off") as (llm_url, upstream):
            settings = worker_settings(
                tmp_path,
                temporal_address=temporal_address,
                redis_url=redis_url,
                database_url=sqlite_database(tmp_path),
                llm_url=llm_url,
                prompt_url=sink.url,
                trace_content="off",
            )
            upstream.when(SAID, Reply(status=400, error={"error": {"message": f"no {SAID}"}}))
            steps: list[JsonObject] = [
                {"id": "t", "transform": "${{ input }}"},
                {"id": "a", "agent": {"message": "{{ input }}"}, "input": "${{ input }}", "on_error": "continue"},
                {"id": "b", "transform": "${{ {'x': 1}[input] }}"},
            ]
            async with open_engine(settings, upstream, sink) as engine, EventStream(redis_url):
                handle = await engine.start(steps, SAID)
                assert (await handle.describe()).id
                with pytest.raises(Exception, match="failed"):
                    await handle.result()
                spans = await sink.wait_for(5)
        assert {span.kind for span in spans} == {"workflow", "step", "agent", "llm"}
        assert [span.error_type for span in spans if span.step_id == "b"] == ["expression_error"]
        assert_silent(spans)


class TestOneFilterForAllSenders:
    def test_a_span_full_of_words(self) -> None:
        """Whatever member a span has, or gets: what the filter does not know is left out."""
        given: JsonObject = dict.fromkeys(Span.model_fields, SAID) | {"invented": SAID, "error_type": f"a {SAID}"}
        left = without_content(given)
        assert not {"input", "output", "params", "error_message", "error_type", "tags", "invented"} & left.keys()
