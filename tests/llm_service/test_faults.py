"""What holds when things go wrong."""

import asyncio
import io
import time
from typing import Any, ClassVar

import aiohttp
import orjson
import pytest

from tests.support.llm_engine import StartEngine
from tests.support.scripted_upstream import Reply, ScriptedUpstream
from tests.support.span_sink import SpanSink

Answered = tuple[int, dict[str, str], bytes]


def chat(text: str = "hello", **fields: Any) -> dict[str, Any]:
    return {"model": "up/scripted", "messages": [{"role": "user", "content": text}], **fields}


async def post(url: str, body: Any, path: str = "/v1/chat/completions", **headers: str) -> Answered:
    sent = io.BytesIO(body if isinstance(body, bytes) else orjson.dumps(body))
    async with (
        aiohttp.ClientSession() as session,
        session.post(url + path, data=sent, headers={"Content-Type": "application/json"} | headers) as answer,
    ):
        lower = {name.lower(): value for name, value in answer.headers.items()}
        return answer.status, lower, await answer.read()


def events(stream: bytes) -> list[Any]:
    data = [line[6:] for line in stream.split(b"\n") if line.startswith(b"data: ")]
    return [line.decode() if line == b"[DONE]" else orjson.loads(line) for line in data]


class TestUpstreamErrors:
    async def test_pass_with_status_body_retry_after_and_request_id(
        self, engine: str, upstream: ScriptedUpstream
    ) -> None:
        error = {"error": {"message": "too many", "type": "rate_limit_error", "code": "rpm"}}
        headers = {"Retry-After": "30", "x-request-id": "req-of-upstream", "x-ratelimit-remaining-requests": "0"}
        upstream.when("hello", Reply(status=429, error=error, headers=headers))
        status, answered, body = await post(engine, chat())
        assert (status, orjson.loads(body)) == (429, error)
        assert answered["retry-after"] == "30"
        assert answered["x-request-id"] == "req-of-upstream"
        assert answered["x-ratelimit-remaining-requests"] == "0"
        assert len(upstream.calls) == 1  # half a minute is the caller's to wait

    @pytest.mark.parametrize("stream", [False, True])
    async def test_a_refusal_is_not_repeated(self, engine: str, upstream: ScriptedUpstream, stream: bool) -> None:
        upstream.when("hello", Reply(status=400, error={"error": {"message": "filtered", "code": "content_filter"}}))
        status, _, body = await post(engine, chat(stream=stream))
        assert status == 400
        assert orjson.loads(body)["error"]["code"] == "content_filter"
        assert len(upstream.calls) == 1

    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize(
        "fault",
        [Reply(status=503), Reply(status=429, headers={"Retry-After": "0"}), Reply(break_after=0)],
        ids=["503", "429", "cut"],
    )
    async def test_a_passing_fault_is_repeated(
        self, engine: str, upstream: ScriptedUpstream, sink: SpanSink, fault: Reply, stream: bool
    ) -> None:
        upstream.when("hello", fault, fault, Reply(text="At last."))
        status, _, body = await post(engine, chat(stream=stream))
        assert status == 200
        assert b"last." in body
        assert len(upstream.calls) == 3
        span = await sink.one()
        assert (span.status, span.metadata["attempts"], span.completion_tokens) == ("ok", "3", 2)

    async def test_the_last_error_arrives_when_retries_are_used_up(
        self, start_engine: StartEngine, upstream: ScriptedUpstream
    ) -> None:
        upstream.when("hello", Reply(status=502))
        async with start_engine(retries=1) as url:
            status, _, body = await post(url, chat())
        assert (status, orjson.loads(body)["error"]["message"]) == (502, "scripted 502")
        assert len(upstream.calls) == 2

    async def test_a_used_up_quota_is_not_repeated(self, engine: str, upstream: ScriptedUpstream) -> None:
        upstream.when("hello", Reply(status=429, error={"error": {"message": "", "code": "insufficient_quota"}}))
        status, _, _ = await post(engine, chat())
        assert (status, len(upstream.calls)) == (429, 1)

    async def test_our_key_is_cut_out_of_errors_and_spans(
        self, engine: str, upstream: ScriptedUpstream, sink: SpanSink
    ) -> None:
        upstream.when("hello", Reply(status=401, error={"error": {"message": "bad key sk-upstream-key"}}))
        status, _, body = await post(engine, chat())
        assert status == 401
        assert b"sk-upstream-key" not in body
        assert (await sink.one()).error_message == "bad key ********"


class TestUnreachableUpstream:
    @pytest.mark.parametrize("stream", [False, True])
    async def test_is_a_503_that_names_it_but_not_its_address(
        self, start_engine: StartEngine, sink: SpanSink, stream: bool
    ) -> None:
        async with start_engine(base_url="http://127.0.0.1:9/v1", retries=1) as url:
            status, headers, body = await post(url, chat(stream=stream))
            ready, _, readiness = await post_get(url + "/health/ready")
            _, _, states = await post_get(url + "/api/v1/upstreams")
        problem = orjson.loads(body)
        assert (status, problem["type"]) == (503, "urn:studio:dependency-unavailable")
        assert problem["dependency"] == "up"
        assert "'up' does not answer after 2 attempts" in problem["error"]["message"]
        assert b"127.0.0.1" not in body
        assert headers["retry-after"]
        span = await sink.one()
        assert (span.status, span.error_type, span.upstream) == ("error", "dependency-unavailable", "up")
        assert (ready, orjson.loads(readiness)["down"]) == (503, ["up"])
        assert [state["healthy"] for state in orjson.loads(states)["items"]] == [False]
        assert b"127.0.0.1" not in readiness + states

    async def test_is_ready_when_it_is_back(self, engine: str) -> None:
        status, _, _ = await post_get(engine + "/health/ready")
        assert status == 200


async def post_get(url: str) -> Answered:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, dict(answer.headers), await answer.read()


class TestDeadlines:
    async def test_first_byte(self, start_engine: StartEngine, upstream: ScriptedUpstream) -> None:
        upstream.when("hello", Reply(hold_after=0))
        async with start_engine(timeouts={"first_byte": 0.2}, retries=1) as url:
            status, _, body = await post(url, chat(stream=True))
        problem = orjson.loads(body)
        assert (status, problem["type"]) == (504, "urn:studio:upstream-timeout")
        assert "timeouts.first_byte" in problem["detail"]
        assert [call.outcome for call in upstream.calls] == ["abandoned", "abandoned"]

    async def test_idle(self, start_engine: StartEngine, upstream: ScriptedUpstream, sink: SpanSink) -> None:
        upstream.when("hello", Reply(text="one two three", hold_after=2))
        async with start_engine(timeouts={"idle": 0.2}) as url:
            status, _, body = await post(url, chat(stream=True))
        assert status == 200
        *tokens, last = events(body)
        assert [event["choices"][0]["delta"]["content"] for event in tokens] == ["one ", "two "]
        assert last["error"]["code"] == "stream_broken"
        assert "timeouts.idle" in last["error"]["message"]
        assert (await sink.one()).status == "incomplete"

    @pytest.mark.parametrize("stream", [False, True])
    async def test_total(
        self, start_engine: StartEngine, upstream: ScriptedUpstream, sink: SpanSink, stream: bool
    ) -> None:
        upstream.when("hello", Reply(hold_after=0))
        async with start_engine(timeouts={"total": 0.2}) as url:
            status, _, body = await post(url, chat(stream=stream))
        assert status == 504
        assert "timeouts.total" in orjson.loads(body)["detail"]
        assert (await sink.one()).error_type == "upstream-timeout"


class TestBrokenStream:
    async def test_ends_with_an_error_event_and_no_done(
        self, engine: str, upstream: ScriptedUpstream, sink: SpanSink
    ) -> None:
        upstream.when("hello", Reply(text="one two three", break_after=2))
        status, _, body = await post(engine, chat(stream=True))
        *tokens, last = events(body)
        assert status == 200
        assert len(tokens) == 2
        assert last["error"]["code"] == "stream_broken"
        assert b"[DONE]" not in body
        assert len(upstream.calls) == 1  # begun: never restarted
        span = await sink.one()
        assert (span.status, span.output) == ("incomplete", {"role": "assistant", "content": "one two "})

    async def test_an_end_without_finish_is_broken_too(self, engine: str, upstream: ScriptedUpstream) -> None:
        upstream.when("hello", Reply(done=False))
        _, _, body = await post(engine, chat(stream=True))
        assert events(body)[-1]["error"]["code"] == "stream_broken"

    async def test_a_finish_without_done_is_whole(
        self, engine: str, upstream: ScriptedUpstream, sink: SpanSink
    ) -> None:
        sent = 'data: {"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}\n\n'
        upstream.when("hello", Reply(raw=[sent]))
        _, _, body = await post(engine, chat(stream=True))
        assert body == sent.encode() + b"data: [DONE]\n\n"  # callers of OpenAI's API may rely on it
        assert (await sink.one()).status == "ok"

    async def test_the_upstreams_own_error_event_passes(
        self, engine: str, upstream: ScriptedUpstream, sink: SpanSink
    ) -> None:
        token = 'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
        error = 'data: {"error":{"message":"overloaded","type":"server_error"}}\n\n'
        upstream.when("hello", Reply(raw=[token, error]))
        _, _, body = await post(engine, chat(stream=True))
        assert body.decode() == token + error
        span = await sink.one()
        assert (span.status, span.error_message) == ("incomplete", "overloaded")


class TestPassage:
    async def test_bytes_of_a_stream_pass_as_they_are(self, engine: str, upstream: ScriptedUpstream) -> None:
        sent = [
            ": a comment\n\n",
            'data:  {"choices": [ {"index":0,\n',
            'data: "delta":{"content":"é \\"usage\\":null"}} ], "x": 1.50}\r\n\r\n',
            'event: odd\ndata: not json\n\ndata: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}',
            "\n\ndata: [DONE]\n\n",
        ]
        upstream.when("hello", Reply(raw=sent))
        _, headers, body = await post(engine, chat(stream=True))
        assert body.decode() == "".join(sent)
        assert headers["cache-control"] == "no-cache"
        assert headers["x-accel-buffering"] == "no"
        assert headers["content-type"].startswith("text/event-stream")

    async def test_pings_while_the_first_token_is_awaited(
        self, start_engine: StartEngine, upstream: ScriptedUpstream
    ) -> None:
        upstream.when("hello", Reply(text="late", hold_after=0))
        async with (
            start_engine(settings={"stream_ping_seconds": 0.1}) as url,
            aiohttp.ClientSession() as session,
            session.post(url + "/v1/chat/completions", json=chat(stream=True)) as answer,
        ):
            assert answer.headers["X-Studio-Upstream"] == "up"
            assert await answer.content.readexactly(16) == b": ping\n\n" * 2
            upstream.release()
            rest = await answer.read()
        assert rest.endswith(b"data: [DONE]\n\n")
        assert b"ping" not in rest.partition(b"data:")[2]

    async def test_an_error_after_pings_is_an_event(
        self, start_engine: StartEngine, upstream: ScriptedUpstream, sink: SpanSink
    ) -> None:
        upstream.when("hello", Reply(status=400, hold_after=0))
        async with (
            start_engine(settings={"stream_ping_seconds": 0.05}) as url,
            aiohttp.ClientSession() as session,
            session.post(url + "/v1/chat/completions", json=chat(stream=True)) as answer,
        ):
            await answer.content.readexactly(8)
            upstream.release()
            (error,) = events(await answer.read())
        assert error["error"] | {"code": None} == {
            "message": "scripted 400",
            "type": "scripted",
            "code": None,
            "status": 400,
        }
        assert ((await sink.one()).status, (await sink.one()).error_type) == ("error", "upstream-400")


class TestCallerLeaves:
    @pytest.mark.parametrize(
        ("stream", "reply"),
        [
            (False, Reply(hold_after=0)),
            (True, Reply(hold_after=0)),
            (True, Reply(endless=True, token_delay=0.01)),
        ],
        ids=["unstreamed", "before the first token", "in the middle"],
    )
    async def test_cancels_the_upstream_request_within_half_a_second(
        self, engine: str, upstream: ScriptedUpstream, sink: SpanSink, stream: bool, reply: Reply
    ) -> None:
        upstream.when("hello", reply)
        async with aiohttp.ClientSession() as session:
            request = asyncio.create_task(session.post(engine + "/v1/chat/completions", json=chat(stream=stream)))
            if reply.endless:
                answer = await request
                await answer.content.readuntil(b"\n\n")
                answer.close()
            else:
                await upstream.wait_for_calls(1, "held")
                request.cancel()
            left = time.monotonic()
            (call,) = await upstream.wait_for_calls(1, "abandoned")
            assert call.ended is not None
            assert call.ended - left < 0.5
        span = await sink.one()
        assert (span.status, span.error_type) == ("cancelled", "caller-left")
        assert (span.output is not None) == reply.endless


class TestBadRequests:
    BAD: ClassVar[list[tuple[Any, list[Any]]]] = [
        (b"{", ["body"]),
        (b"[]", ["body"]),
        ({"messages": [{}]}, ["body", "model"]),
        ({"model": 5, "messages": [{}]}, ["body", "model"]),
        ({"model": "up/scripted"}, ["body", "messages"]),
        ({"model": "up/scripted", "messages": []}, ["body", "messages"]),
        ({"model": "up/scripted", "messages": [{}], "stream": "yes"}, ["body", "stream"]),
        ({"model": "up/scripted", "messages": [{}], "stream_options": 1}, ["body", "stream_options"]),
    ]

    @pytest.mark.parametrize(("body", "place"), BAD)
    async def test_are_422_with_the_place(self, engine: str, sink: SpanSink, body: Any, place: list[Any]) -> None:
        status, headers, answered = await post(engine, body)
        problem = orjson.loads(answered)
        assert (status, headers["content-type"]) == (422, "application/problem+json")
        assert problem["errors"][0]["loc"] == place
        assert problem["error"]["type"] == "invalid_request_error"
        assert (await sink.one()).error_type == "invalid-input"

    async def test_metadata_must_be_a_json_object(self, engine: str) -> None:
        status, _, body = await post(engine, chat(), **{"X-Studio-Metadata": "team=a"})
        assert (status, orjson.loads(body)["errors"][0]["loc"]) == (422, ["header", "X-Studio-Metadata"])

    async def test_a_body_of_seven_mebibytes_passes(self, engine: str, upstream: ScriptedUpstream) -> None:
        status, _, _ = await post(engine, chat("x" * 7 * 1024 * 1024))
        assert (status, len(upstream.calls[0].text)) == (200, 7 * 1024 * 1024)

    async def test_a_body_of_nine_mebibytes_is_a_413(self, engine: str, upstream: ScriptedUpstream) -> None:
        status, _, body = await post(engine, chat("x" * 9 * 1024 * 1024))
        assert (status, orjson.loads(body)["type"]) == (413, "urn:studio:payload-too-large")
        assert upstream.calls == []

    async def test_get_is_a_405(self, engine: str) -> None:
        status, _, body = await post_get(engine + "/v1/chat/completions")
        assert (status, orjson.loads(body)["status"]) == (405, 405)
