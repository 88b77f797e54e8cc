"""Single answers that were seen in the field, as a caller of the gateway gets them."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp
import orjson
import pytest
from openai import AsyncOpenAI

from studio.clients.llm import LlmClient, LlmUnreadable
from studio.contracts.llm import ChatAssembly, ChatRequest, Message
from studio.contracts.spans import Span
from tests.support.hostile_upstream import HostileUpstream
from tests.support.llm_engine import StartEngine
from tests.support.misbehaviours import ANSWER_LIMIT
from tests.support.scripted_upstream import Reply, ScriptedUpstream
from tests.support.span_sink import SpanSink

FINISHED = [
    "done-without-blank-line",
    "done-with-one-newline",
    "usage-unterminated",
    "open-after-done",
    "reset-after-done",
    "no-last-chunk-after-done",
    "no-done",
]
TIMEOUTS = {"connect": 5, "first_byte": 1.5, "idle": 30, "total": 60}


@pytest.fixture
async def gateway(start_engine: StartEngine, hostile: HostileUpstream) -> AsyncGenerator[str]:
    """Address of an engine whose upstream `up` is the hostile one."""
    async with start_engine(
        base_url=hostile.url, retries=2, timeouts=TIMEOUTS, max_answer_bytes=ANSWER_LIMIT, api_key="sk-own-key-31337"
    ) as url:
        yield url


async def ask(url: str, name: str, *, stream: bool = True, **fields: Any) -> tuple[int, dict[str, str], bytes]:
    body = {"model": f"up/{name}", "messages": [{"role": "user", "content": "hello"}], "stream": stream, **fields}
    async with aiohttp.ClientSession(url) as session, session.post("/v1/chat/completions", json=body) as answer:
        return answer.status, {name.lower(): value for name, value in answer.headers.items()}, await answer.read()


async def text_of(base_url: str, model: str) -> str:
    """As the official client reads it."""
    async with AsyncOpenAI(base_url=f"{base_url}/v1", api_key="sk-caller", max_retries=0) as client:
        stream = await client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "hello"}], stream=True
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])


class TestAFinishedStream:
    @pytest.mark.parametrize("name", FINISHED)
    async def test_is_finished_however_its_transport_ends(self, gateway: str, sink: SpanSink, name: str) -> None:
        began = time.monotonic()
        assert await text_of(gateway, f"up/{name}") == "Hello"
        assert time.monotonic() - began < 20  # a stream that stays open after `[DONE]` is left
        span = await sink.one()
        assert (span.status, span.prompt_tokens, span.completion_tokens) == ("ok", 11, 7)

    @pytest.mark.parametrize("name", [name for name in FINISHED if name.endswith("line") or name == "no-done"])
    async def test_is_what_the_official_client_reads_from_the_upstream_itself(
        self, hostile: HostileUpstream, name: str
    ) -> None:
        assert await text_of(hostile.url, name) == "Hello"

    @pytest.mark.parametrize("name", FINISHED)
    async def test_is_whole_for_workflow_steps(self, gateway: str, name: str) -> None:
        assembly = ChatAssembly()
        async with LlmClient(gateway) as client:
            request = ChatRequest(model=f"up/{name}", messages=[Message(role="user", content="hello")])
            async for delta in client.stream_chat(request):
                assembly.add(delta)
        assert (assembly.text, assembly.finish_reason) == ("Hello", "stop")


class TestAFailedAnswer:
    @pytest.mark.parametrize(
        ("name", "status"),
        [
            ("error-first-429", 429),
            ("error-first-503", 503),
            ("error-first-without-status", 503),
            ("done-alone", 502),
            ("login-page", 502),
        ],
    )
    async def test_before_any_text_has_a_status(
        self, gateway: str, hostile: HostileUpstream, name: str, status: int
    ) -> None:
        answered, _, body = await ask(gateway, name)
        assert answered == status
        assert orjson.loads(body)["error"]["message"]
        assert len(hostile.received) == (3 if status in {429, 503} else 1)  # repeated as the contract says

    @pytest.mark.parametrize("name", ["object-error-then-done", "finish-error", "choice-error", "done-without-finish"])
    async def test_in_the_middle_is_an_error_event_without_done(self, gateway: str, sink: SpanSink, name: str) -> None:
        _, _, body = await ask(gateway, name)
        assert b'data: {"error":' in body
        assert b"[DONE]" not in body
        assert (await sink.one()).status == "incomplete"

    @pytest.mark.parametrize("name", ["error-event-with-the-key", "login-page", "empty-body", "206-with-an-error"])
    async def test_with_a_good_status_has_no_good_span(self, gateway: str, sink: SpanSink, name: str) -> None:
        await ask(gateway, name, stream=False)
        span = await sink.one()
        assert span.status == "error"
        assert span.error_message

    async def test_of_a_captive_portal_says_what_answered(self, gateway: str) -> None:
        _, _, body = await ask(gateway, "login-page")
        message = orjson.loads(body)["detail"]
        assert "neither a stream nor an answer of a model" in message
        assert "check its base_url" in message


class TestWhatCannotBeRead:
    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("header-of-100-kb", "header longer than 65536 bytes"),
            ("false-gzip", "Content-Encoding does not decode"),
            ("false-brotli", "Content-Encoding does not decode"),
            ("length-too-long", "cut off or broken"),
            ("answer-past-the-limit", f"larger than {ANSWER_LIMIT} bytes"),
            ("gzip-bomb", f"larger than {ANSWER_LIMIT} bytes"),
            ("status-600", "status 600"),
            ("status-307", "redirect (status 307); check the upstream's base_url"),
        ],
    )
    async def test_is_asked_for_once_and_says_why(
        self, gateway: str, hostile: HostileUpstream, name: str, reason: str
    ) -> None:
        status, headers, body = await ask(gateway, name, stream=False)
        problem = orjson.loads(body)
        assert (status, problem["type"]) == (502, "urn:studio:upstream-unreadable")
        assert reason in problem["detail"]
        assert headers["x-should-retry"] == "false"
        assert len(hostile.received) == 1

    async def test_is_not_asked_for_again_by_a_workflow_step(self, gateway: str) -> None:
        request = ChatRequest(model="up/header-of-100-kb", messages=[Message(role="user", content="hello")])
        async with LlmClient(gateway) as client:
            with pytest.raises(LlmUnreadable) as raised:
                _ = [delta async for delta in client.stream_chat(request)]
        assert not raised.value.retryable

    async def test_the_next_call_on_the_same_connection_goes_through(self, gateway: str, sink: SpanSink) -> None:
        body = {"messages": [{"role": "user", "content": "hello"}]}
        async with aiohttp.ClientSession(gateway, connector=aiohttp.TCPConnector(limit=1)) as session:
            for name in ["usage-1e30", "usage-in-3000-levels", "latin-1-headers", "status-999", "gzip"]:
                async with session.post("/v1/chat/completions", json={**body, "model": f"up/{name}"}) as answer:
                    await answer.read()
        assert len(await sink.wait_for(5)) == 5


class TestContentTypes:
    @pytest.mark.parametrize("content_type", ["text/plain", "application/octet-stream"])
    async def test_tokens_of_a_stream_by_another_name_come_at_once(
        self, engine: str, upstream: ScriptedUpstream, content_type: str
    ) -> None:
        upstream.when("hello", Reply(text="one two three", hold_after=1, headers={"Content-Type": content_type}))
        body = {"model": "up/scripted", "messages": [{"role": "user", "content": "hello"}], "stream": True}
        async with aiohttp.ClientSession(engine) as session, session.post("/v1/chat/completions", json=body) as answer:
            async with asyncio.timeout(5):
                first = await answer.content.readuntil(b"\n\n")
            assert b"one " in first  # the upstream holds the others back
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            upstream.release()
            assert (await answer.read()).endswith(b"data: [DONE]\n\n")

    @pytest.mark.parametrize("name", ["whole-answer-to-a-stream", "whole-answer-called-a-stream"])
    async def test_a_whole_answer_is_a_stream_for_who_asked_for_one(
        self, gateway: str, sink: SpanSink, name: str
    ) -> None:
        assert await text_of(gateway, f"up/{name}") == "Hello"
        span = await sink.one()
        assert (span.status, span.completion_tokens, span.output) == (
            "ok",
            7,
            {"role": "assistant", "content": "Hello"},
        )

    async def test_a_stream_is_a_whole_answer_for_who_asked_for_one(self, gateway: str, sink: SpanSink) -> None:
        _, headers, body = await ask(gateway, "stream-for-a-whole-answer", stream=False)
        answer = orjson.loads(body)
        assert headers["content-type"] == "application/json"
        assert answer["choices"][0]["message"]["content"] == "Hello"
        assert answer["usage"]["completion_tokens"] == (await sink.one()).completion_tokens == 7

    async def test_comments_are_no_first_event(self, start_engine: StartEngine, hostile: HostileUpstream) -> None:
        async with start_engine(base_url=hostile.url, retries=0, timeouts=TIMEOUTS | {"first_byte": 0.5}) as url:
            status, _, body = await ask(url, "comments-only")
        assert (status, orjson.loads(body)["type"]) == (504, "urn:studio:upstream-timeout")


class TestStreamOptions:
    async def test_are_left_out_for_a_model_that_refuses_them(
        self, engine: str, upstream: ScriptedUpstream, sink: SpanSink
    ) -> None:
        refusal = Reply(status=400, error={"error": {"message": "Unknown parameter: 'stream_options'."}})
        upstream.when("hello", refusal, Reply(text="Hi."))
        for _ in range(2):
            status, _, body = await ask(engine, "scripted")
            assert (status, body.endswith(b"data: [DONE]\n\n")) == (200, True)
        assert ["stream_options" in call.body for call in upstream.calls] == [True, False, False]
        assert {span.usage_source for span in await sink.wait_for(2)} == {"none"}

    async def test_stay_when_something_else_was_refused(self, engine: str, upstream: ScriptedUpstream) -> None:
        refusal = Reply(status=400, error={"error": {"message": "Unknown parameter: 'foo'."}})
        upstream.when("hello", refusal)
        status, _, body = await ask(engine, "scripted")
        assert (status, "'foo'" in orjson.loads(body)["error"]["message"]) == (400, True)
        upstream.when("hello", Reply(text="Hi."))
        await ask(engine, "scripted")
        assert "stream_options" in upstream.calls[-1].body


class TestHeaders:
    async def test_of_a_stream_are_those_of_a_whole_answer(self, engine: str, upstream: ScriptedUpstream) -> None:
        limits = {"x-ratelimit-remaining-requests": "7", "openai-processing-ms": "12"}
        upstream.when("hello", Reply(headers=limits))
        for stream in (True, False):
            _, headers, _ = await ask(engine, "scripted", stream=stream)
            assert {name: headers.get(name) for name in limits} == limits


class TestRequests:
    @pytest.mark.parametrize("number", ["12345678901234567890123", "1e400", "0.12345678901234567890123"])
    async def test_a_number_that_would_be_rounded_is_refused(
        self, engine: str, upstream: ScriptedUpstream, number: str
    ) -> None:
        body = f'{{"model":"up/scripted","messages":[{{"role":"user","content":"hello"}}],"x":{number}}}'
        headers = {"Content-Type": "application/json"}
        async with (
            aiohttp.ClientSession(engine, headers=headers) as session,
            session.post("/v1/chat/completions", data=body) as answer,
        ):
            assert answer.status == 422
        assert upstream.calls == []

    @pytest.mark.parametrize("number", [2**53 + 1, 2**63 - 1, 2**64 - 1, -(2**63), 0.1, 1e-9, 0.30000000000000004])
    async def test_every_other_number_arrives_as_it_is(
        self, engine: str, upstream: ScriptedUpstream, number: float
    ) -> None:
        await ask(engine, "scripted", stream=False, x=number)
        assert repr(upstream.calls[0].body["x"]) == repr(number)

    @pytest.mark.parametrize("depth", [256, 500, 1_000])
    async def test_what_is_nested_too_deep_is_refused_with_a_span(
        self, engine: str, sink: SpanSink, depth: int
    ) -> None:
        deep = '{"a":' * depth + "1" + "}" * depth
        headers = {"Content-Type": "application/json"}
        async with aiohttp.ClientSession(engine, headers=headers) as session:
            for member in (f'"metadata":{deep}', f'"tools":[{deep}]'):
                body = f'{{"model":"up/scripted","messages":[{{"role":"user","content":"hello"}}],{member}}}'
                async with session.post("/v1/chat/completions", data=body) as answer:
                    assert answer.status == 422
        assert [span.error_type for span in await sink.wait_for(2)] == ["invalid-input"] * 2

    @pytest.mark.parametrize(
        ("given", "prompt", "version"),
        [
            ("p@3", "p", 3),
            ("p@99999999999999999999", "p@99999999999999999999", None),
            ("p@" + "9" * 5_000, "p@" + "9" * 5_000, None),
            ("p@9999999999999999", "p@9999999999999999", None),
        ],
        ids=["3", "20 digits", "5000 digits", "16 digits"],
    )
    async def test_a_prompts_version_never_costs_the_span(
        self, engine: str, sink: SpanSink, given: str, prompt: str, version: int | None
    ) -> None:
        span = await self._with_header(engine, sink, "X-Studio-Prompt", given)
        assert (span.prompt_id, span.prompt_version, span.status) == (prompt, version, "ok")

    async def test_metadata_nested_too_deep_is_refused_with_a_span(self, engine: str, sink: SpanSink) -> None:
        deep = '{"a":' * 300 + "1" + "}" * 300
        assert (await self._with_header(engine, sink, "X-Studio-Metadata", deep)).error_type == "invalid-input"

    async def _with_header(self, engine: str, sink: SpanSink, name: str, value: str) -> Span:
        body = {"model": "up/scripted", "messages": [{"role": "user", "content": "hello"}]}
        async with (
            aiohttp.ClientSession(engine) as session,
            session.post("/v1/chat/completions", json=body, headers={name: value}) as answer,
        ):
            assert answer.status < 500
        return await sink.one()


class TestBytes:
    async def test_only_usage_changes_in_an_event_with_large_numbers(self, gateway: str) -> None:
        _, _, body = await ask(gateway, "large-integers-beside", stream_options={"include_usage": True})
        assert b'{"x":12345678901234567890123,"choices":[],"usage":{"prompt_tokens": 11' in body
        assert b'"cost_usd":null}}' in body

    async def test_usage_is_taken_out_and_nothing_else(self, gateway: str) -> None:
        _, _, body = await ask(gateway, "half-an-emoji-beside-usage")
        sent = '{"choices":[{"index":0,"delta":{"content":"\\udc00"},"finish_reason":"stop"}]}'
        assert body == f"data: {sent}\n\ndata: [DONE]\n\n".encode()
        assert json.loads(sent)
