"""What upstreams have been seen to send, and what somebody hostile would: for `HostileUpstream`, by name."""

import base64
import gzip
import json
import zlib
from typing import Any

import brotli

from tests.support.hostile_upstream import (
    Act,
    Misbehaviour,
    Piece,
    Verdict,
    answer_head,
    chunked,
    event,
    stream_head,
    stream_of,
    whole_answer,
)

KEY = "sk-hostile-4f9a/c+81==77"
EXTRA = "extra-header-secret-5521"
SECRETS = (KEY, EXTRA)
SPELLINGS = tuple(
    spelling
    for secret in SECRETS
    for spelling in (secret, secret.replace("/", "\\/"), base64.b64encode(secret.encode()).decode().rstrip("="))
)
"""What must be found nowhere."""
ANSWER_LIMIT = 1024 * 1024
"""`max_answer_bytes` of the upstream's settings in the tests."""

DONE = b"data: [DONE]\n\n"
TOKENS = (11, 7)
USAGE: dict[str, Any] = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
DEEP = b'{"a":' * 300 + b"1" + b"}" * 300
DEEPER = b"[" * 3_000 + b"]" * 3_000


def token(text: Any = "Hello", **choice: Any) -> bytes:
    return event({"id": "c1", "model": "m", "choices": [{"index": 0, "delta": {"content": text}, **choice}]})


def finish(reason: Any = "stop", **choice: Any) -> bytes:
    return event({"id": "c1", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": reason, **choice}]})


def usage(counts: Any = None, **members: Any) -> bytes:
    return event({"id": "c1", "model": "m", "choices": [], "usage": USAGE if counts is None else counts, **members})


def message(content: Any = "Hello", *, counts: Any = None, reason: Any = "stop", **members: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": reason}
    return {"id": "c1", "model": "m", "choices": [choice], "usage": USAGE if counts is None else counts, **members}


def whole(document: Any) -> bytes:
    return whole_answer(document if isinstance(document, bytes) else json.dumps(document).encode())


def _ends() -> list[Misbehaviour]:
    """Finished streams whose transport ends oddly, and unfinished ones whose transport ends well."""
    head, said = stream_head(), token() + finish() + usage()

    def good(name: str, *pieces: Piece, slow: bool = False) -> Misbehaviour:
        return Misbehaviour(name, streamed=pieces, tokens=TOKENS, slow=slow)

    def failed(name: str, *pieces: Piece, tokens: tuple[int, int] | None = None, slow: bool = False) -> Misbehaviour:
        return Misbehaviour(name, streamed=pieces, verdict="failed", tokens=tokens, slow=slow)

    return [
        good("done-without-blank-line", stream_of(said, b"data: [DONE]")),
        good("done-with-one-newline", stream_of(said, b"data: [DONE]\n")),
        good("done-with-spaces", stream_of(said, b"data:  [DONE] \n\n")),
        good("usage-unterminated", stream_of(said.rstrip(b"\n"))),
        good("open-after-done", head, chunked(said + DONE, ended=False), Act.HOLD),
        good("reset-after-done", head, chunked(said + DONE, ended=False), Act.PAUSE, Act.RESET),
        good("no-last-chunk-after-done", head, chunked(said + DONE, ended=False)),
        good("error-after-done", stream_of(said, DONE, event({"error": {"message": "late"}}))),
        good("no-done", stream_of(said)),
        good("reset-after-usage-without-done", head, chunked(said, ended=False), Act.PAUSE, Act.RESET),
        good("silent-after-usage-without-done", head, chunked(said, ended=False), Act.HOLD, slow=True),
        good("half-an-event-after-usage", stream_of(said, b'data: {"choices":[{"ind')),
        Misbehaviour("finish-unterminated", streamed=[stream_of(token(), finish().rstrip(b"\n"))]),
        failed("nothing-finished", stream_of(token())),
        failed("nothing-finished-but-counted", stream_of(token(), usage()), tokens=TOKENS),
        failed("cut-in-an-event", stream_of(token(), b'data: {"choices":[{"index":0,"del')),
        failed("reset-in-the-middle", head, chunked(token(), ended=False), Act.PAUSE, Act.RESET),
        failed("bad-chunk-length", head, chunked(token(), ended=False), b"zz\r\nnonsense\r\n"),
        failed("done-alone", stream_of(DONE)),
        failed("done-without-finish", stream_of(token(), usage(), DONE), tokens=TOKENS),
        failed("no-event-at-all", stream_of()),
        failed("comments-only", head, *([chunked(b": PROCESSING\n\n", ended=False), Act.PAUSE] * 400), slow=True),
        failed("silent-after-the-head", head, Act.HOLD, slow=True),
        failed("silent-after-a-token", head, chunked(token(), ended=False), Act.HOLD, slow=True),
        failed("silent", Act.HOLD, slow=True),
    ]


def _errors() -> list[Misbehaviour]:
    """Failures on a status of success, many with our key in them."""
    said = {"message": f"bad key Bearer {KEY} and {EXTRA}", "code": 500}
    slashed = json.dumps(said).replace("/", "\\/").encode()
    encoded = {"message": f"auth {base64.b64encode(KEY.encode()).decode()}"}

    def failed(name: str, *events: bytes, body: Any = None, tokens: tuple[int, int] | None = None) -> Misbehaviour:
        return Misbehaviour(
            name,
            streamed=[stream_of(*events)] if events else None,
            whole=None if body is None else [whole(body)],
            verdict="failed",
            tokens=tokens,
        )

    statuses = [
        "400 Bad",
        "401 No",
        "403 No",
        "404 No",
        "409 No",
        "413 No",
        "418 No",
        "429 No",
        "500 No",
        "503 No",
        "599 X",
    ]
    return [
        failed("error-event-with-the-key", token(), event({"error": said}), body={"error": said}),
        failed(
            "error-event-with-slashes",
            token(),
            event(b'{"error":' + slashed + b"}"),
            body=b'{"error":' + slashed + b"}",
        ),
        failed("error-event-with-base64", token(), event({"error": encoded}), body={"error": encoded}),
        failed("error-as-text", token(), event({"error": f"no {KEY}"}), body={"error": f"no {KEY}"}),
        failed("error-as-list", token(), event({"error": [said]}), body={"error": [said]}),
        failed("error-as-number", token(), event({"error": 5}), body={"error": 5}),
        failed(
            "error-300-deep", token(), event(b'{"error":{"message":' + DEEP + b"}}"), body=b'{"error":' + DEEP + b"}"
        ),
        failed("error-with-usage", token(), event({"error": said, "usage": USAGE}), tokens=TOKENS),
        failed(
            "object-error-then-done",
            token("Hel"),
            event({"object": "error", **said}),
            DONE,
            body={"object": "error", **said},
        ),
        failed(
            "type-error-then-done", token("Hel"), event({"type": "error", **said}), DONE, body={"type": "error", **said}
        ),
        failed("event-error", token(), b"event: error\ndata: " + json.dumps(said).encode() + b"\n\n", DONE),
        failed("event-error-in-words", token(), b"event: error\ndata: " + f'"no {KEY}"'.encode() + b"\n\n", DONE),
        failed(
            "finish-error",
            token("Hel"),
            finish("error", error=said),
            DONE,
            body=message("Hel", reason="error"),
            tokens=None,
        ),
        failed("choice-error", token("Hel"), finish(None, error=said), finish(), DONE),
        failed("error-first-429", event({"error": {**said, "code": 429}}), body={"error": {**said, "code": 429}}),
        failed("error-first-503", event({"error": {**said, "code": "503"}})),
        failed("error-first-without-status", event({"error": {"message": KEY, "type": "overloaded_error"}})),
        failed("login-page", body=b"<html>Please log in</html>"),
        failed("login-page-as-stream", b"<html>Please log in</html>"),
        failed("empty-body", body=b""),
        failed("blank-body", body=b"  \n "),
        failed("null-body", body=b"null"),
        failed("list-body", body=b"[1, 2]"),
        failed("number-body", body=b"5"),
        failed("no-choices", body={"id": "c1"}),
        failed("choices-5-whole", body={"choices": 5}),
        failed("bytes-of-nothing", body=b"\x00\xff\xfe" * 50),
        Misbehaviour(
            "206-with-an-error",
            whole=[whole_answer(json.dumps({"error": said}).encode(), "206 Partial")],
            verdict="failed",
        ),
        Misbehaviour(
            "299-with-an-error", whole=[whole_answer(json.dumps({"error": said}).encode(), "299 Odd")], verdict="failed"
        ),
        *(
            Misbehaviour(
                f"status-{status[:3]}",
                whole=[
                    whole_answer(
                        json.dumps({"error": said}).encode(), status, f"X-Request-Id: {KEY}", f"openai-echo: {KEY}"
                    )
                ],
                verdict="failed",
            )
            for status in statuses
        ),
    ]


def _both(
    name: str, *chunks: Any, body: Any = None, verdict: Verdict = "good", tokens: tuple[int, int] | None = TOKENS
) -> Misbehaviour:
    """Chunks with a proper end behind them; `body` is what the whole answer holds."""
    return Misbehaviour(
        name,
        streamed=[stream_of(*(chunk if isinstance(chunk, bytes) else event(chunk) for chunk in chunks), DONE)],
        whole=None if body is None else [whole(body)],
        verdict=verdict,
        tokens=tokens,
    )


def _call(**call: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}


def _shapes() -> list[Misbehaviour]:
    """Members of the wrong type, in answers that are otherwise complete."""
    end = (finish("tool_calls"), usage())
    calls = [{"id": 7, "function": {"name": 5, "arguments": {"city": "Paris"}}}]
    odd_message = message()
    odd_message["choices"][0]["message"] = {"role": 5, "content": None, "tool_calls": calls}
    return [
        _both(
            "arguments-as-object",
            _call(index=0, id="a", function={"name": "f", "arguments": {"x": 1}}),
            *end,
            body=odd_message,
        ),
        _both("call-id-as-number", _call(index=0, id=7, function={"name": "f", "arguments": "{}"}), *end),
        _both(
            "call-index-null",
            _call(index=None, id="a", function=None),
            _call(index="0", id=None),
            _call(index=[0]),
            *end,
        ),
        _both("tool-calls-of-numbers", {"choices": [{"delta": {"tool_calls": [1, None, "x", []]}}]}, *end),
        _both("index-null-beside-0", token(), token(index=None), finish(), usage()),
        _both(
            "index-as-text", token(index="0"), token(index=[0]), token(index={}), token(index=True), finish(), usage()
        ),
        _both(
            "index-past-64-bits",
            event(b'{"choices":[{"index":99999999999999999999999,"delta":{}}]}'),
            token(),
            finish(),
            usage(),
        ),
        _both("choices-5-first", {"choices": 5}, token(), finish(), usage()),
        _both(
            "choices-5-in-the-middle",
            token(),
            {"choices": 5},
            {"choices": "x"},
            {"choices": [5, None, "x", []]},
            finish(),
            usage(),
        ),
        _both("choices-null", {"choices": None}, token(), {"choices": {}}, finish(), usage()),
        _both(
            "delta-of-anything", {"choices": [{"delta": 5}, {"delta": "x"}, {"delta": [1]}]}, token(), finish(), usage()
        ),
        _both(
            "content-as-parts",
            token([{"type": "text", "text": "Hi"}, 5, {"thinking": [{"text": "hm"}]}]),
            finish(),
            usage(),
            body=message([{"type": "text", "text": "Hi"}]),
        ),
        _both(
            "content-as-number", token(5), token({"a": 1}), token(True), token("x"), finish(), usage(), body=message(5)
        ),
        _both(
            "message-as-text",
            token(),
            finish(),
            usage(),
            body={**message(), "choices": [{"message": "hi", "finish_reason": "stop"}]},
        ),
        _both("finish-reason-5", token(), finish(5), usage(), body=message(reason=5)),
        _both(
            "finish-reason-object", token(), finish({"type": "stop"}), usage(), body=message(reason={"type": "stop"})
        ),
        _both("finish-reason-of-100-kb", token(), finish("x" * 100_000), usage(), body=message(reason="x" * 100_000)),
        _both(
            "model-as-number",
            {"model": 5, "id": 7, "created": "x", "choices": []},
            token(),
            finish(),
            usage(),
            body=message(model=5, id=7),
        ),
        _both("model-of-1-mb", {"model": "m" * 500_000, "choices": []}, token(), finish(), usage()),
        _both(
            "chunks-of-anything",
            b"data: 5\n\n",
            b"data: null\n\n",
            b"data: [1]\n\n",
            b'data: "x"\n\n',
            b"data: nonsense\n\n",
            token(),
            finish(),
            usage(),
        ),
        _both(
            "chunk-300-deep-first",
            event(b'{"choices":[],"x":' + DEEP + b"}"),
            token(),
            finish(),
            usage(),
            body=b'{"x":' + DEEP + b"," + json.dumps(message()).encode()[1:],
        ),
        _both(
            "usage-300-deep",
            token(),
            finish(),
            event(b'{"choices":[],"x":' + DEEP + b',"usage":' + json.dumps(USAGE).encode() + b"}"),
        ),
        _both(
            "usage-in-3000-levels",
            token(),
            finish(),
            event(b'{"choices":[],"x":' + DEEPER + b',"usage":' + json.dumps(USAGE).encode() + b"}"),
            body=b'{"x":' + DEEPER + b"," + json.dumps(message()).encode()[1:],
        ),
        _both(
            "usage-beside-300-levels",
            token(),
            event(
                b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop","x":'
                + DEEP
                + b'}],"usage":'
                + json.dumps(USAGE).encode()
                + b"}"
            ),
        ),
        _both(
            "two-names-alike",
            event(b'{"choices":[{"delta":{"content":"a","content":"b"}}],"choices":[]}'),
            token(),
            finish(),
            usage(),
        ),
        _both(
            "many-choices",
            {
                "choices": [
                    {"index": index, "delta": {"content": "x"}, "finish_reason": "stop"} for index in range(2_000)
                ]
            },
            usage(),
        ),
        _both(
            "error-null", token(error=None), {"error": None, "choices": []}, finish(), usage(), body=message(error=None)
        ),
    ]


def _numbers() -> list[Misbehaviour]:
    """Counts that are none, beside such that are."""

    def counted(name: str, raw: bytes, tokens: tuple[int, int] | None) -> Misbehaviour:
        document = json.dumps(message()).encode().replace(json.dumps(USAGE).encode(), raw)
        return _both(
            name, token(), finish(), event(b'{"choices":[],"usage":' + raw + b"}"), body=document, tokens=tokens
        )

    return [
        counted(
            "usage-past-64-bits",
            b'{"prompt_tokens":99999999999999999999,"completion_tokens":99999999999999999999}',
            None,
        ),
        counted("usage-1e30", b'{"prompt_tokens":1e30,"completion_tokens":1e30,"total_tokens":1e30}', None),
        counted("usage-1e400", b'{"prompt_tokens":1e400,"completion_tokens":1e400}', None),
        counted("usage-nan", b'{"prompt_tokens":NaN,"completion_tokens":Infinity}', None),
        counted("usage-5000-digits", b'{"prompt_tokens":' + b"9" * 5_000 + b',"completion_tokens":7}', (0, 7)),
        counted("usage-half-absurd", b'{"prompt_tokens":11,"completion_tokens":1e30}', (11, 0)),
        counted("usage-negative", b'{"prompt_tokens":-5,"completion_tokens":-7}', None),
        counted("usage-as-list", b"[11, 7]", None),
        counted("usage-as-text", b'"11"', None),
        counted("usage-of-booleans", b'{"prompt_tokens":true,"completion_tokens":false}', None),
        counted("usage-in-fractions", b'{"prompt_tokens":11.0,"completion_tokens":7.9}', TOKENS),
        counted(
            "usage-with-odd-details",
            b'{"prompt_tokens":11,"completion_tokens":7,"prompt_tokens_details":5,"completion_tokens_details":[1],"cost":"x"}',
            TOKENS,
        ),
        counted(
            "usage-with-absurd-details",
            b'{"prompt_tokens":11,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":1e30},"cost":1e300}',
            TOKENS,
        ),
        counted("usage-with-cost-in-it", b'{"prompt_tokens":11,"completion_tokens":7,"cost_usd":"NaN"}', TOKENS),
        _both(
            "large-integers-beside",
            token(),
            finish(),
            event(b'{"x":12345678901234567890123,"choices":[],"usage":' + json.dumps(USAGE).encode() + b"}"),
            body=b'{"x":12345678901234567890123,' + json.dumps(message()).encode()[1:],
        ),
    ]


def _texts() -> list[Misbehaviour]:
    """Bytes that strict readers refuse."""
    half = event(b'{"choices":[{"index":0,"delta":{"content":"cut \\ud83d"}}]}')
    odds = event(b'{"choices":[{"index":0,"delta":{"content":"x"},"logprobs":{"a":-Infinity,"b":NaN}}]}')
    latin = event(b'{"choices":[{"index":0,"delta":{"content":"caf\xe9"}}]}')
    whole_half = json.dumps(message("cut @@")).encode().replace(b"@@", b"\\ud83d")
    whole_odd = json.dumps(message(x=1)).encode().replace(b'"x": 1', b'"x": -Infinity')
    whole_latin = json.dumps(message("caf@@")).encode().replace(b"@@", b"\xe9")
    pretty = json.dumps(json.loads(usage()[6:]), indent=2).encode().replace(b"\n", b"\ndata: ")
    said = token() + finish() + usage() + DONE
    return [
        _both("half-an-emoji", half, finish(), usage(), body=whole_half),
        _both(
            "half-an-emoji-beside-usage",
            event(
                b'{"choices":[{"index":0,"delta":{"content":"\\udc00"},"finish_reason":"stop"}],"usage":'
                + json.dumps(USAGE).encode()
                + b"}"
            ),
        ),
        _both("minus-infinity", odds, finish(), usage(), body=whole_odd),
        _both("latin-1", latin, finish(), usage(), body=whole_latin),
        _both("nul-in-text", token("a\x00b"), finish(), usage(), body=message("a\x00b")),
        _both("terminal-escapes", token("\x1b[31mred\x07"), finish(), usage(), body=message("\x1b[31m")),
        _both(
            "byte-order-mark",
            b"\xef\xbb\xbf" + token(),
            finish(),
            usage(),
            body=b"\xef\xbb\xbf" + json.dumps(message()).encode(),
        ),
        _both("usage-pretty-printed", token(), finish(), b"data: " + pretty + b"\n\n"),
        Misbehaviour("crlf", streamed=[stream_of(said.replace(b"\n", b"\r\n"))], tokens=TOKENS),
        Misbehaviour("bare-cr", streamed=[stream_of(said.replace(b"\n", b"\r"))], tokens=TOKENS),
        Misbehaviour(
            "byte-by-byte",
            streamed=[
                stream_head(),
                *(chunked(said[at : at + 1], ended=False) for at in range(len(said))),
                b"0\r\n\r\n",
            ],
            tokens=TOKENS,
        ),
        Misbehaviour(
            "fields-and-comments",
            streamed=[stream_of(b": hi\n\nretry: 5\nid: 7\nevent: message\n" + said)],
            tokens=TOKENS,
        ),
        _both("key-in-the-text", token(f"your key is {KEY}"), finish(), usage(), body=message(f"your key is {KEY}")),
    ]


def _types() -> list[Misbehaviour]:
    """Content types that lie, and answers in the other form."""
    said = (token(), finish(), usage(), DONE)
    body = json.dumps(message()).encode()

    def typed(name: str, content_type: str | None) -> Misbehaviour:
        return Misbehaviour(
            name,
            streamed=[stream_of(*said, content_type=content_type)],
            whole=[whole_answer(body, content_type=content_type)],
            tokens=TOKENS,
        )

    called = message(None)
    called["choices"][0]["message"]["tool_calls"] = [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    ]
    return [
        typed("stream-as-text-plain", "text/plain"),
        typed("stream-as-octets", "application/octet-stream"),
        typed("no-content-type", None),
        typed("mixed-case-type", "Text/Event-Stream"),
        typed("nonsense-type", "///;;"),
        Misbehaviour("whole-answer-to-a-stream", streamed=[whole_answer(body)], tokens=TOKENS),
        Misbehaviour(
            "whole-answer-called-a-stream",
            streamed=[whole_answer(body, content_type="text/event-stream")],
            tokens=TOKENS,
        ),
        Misbehaviour("whole-tool-call-to-a-stream", streamed=[whole(called)], tokens=TOKENS),
        Misbehaviour("stream-for-a-whole-answer", whole=[stream_of(*said)], tokens=TOKENS),
        Misbehaviour("broken-stream-for-a-whole-answer", whole=[stream_of(token())], verdict="failed"),
        Misbehaviour(
            "error-stream-for-a-whole-answer",
            whole=[stream_of(token(), event({"error": {"message": KEY}}))],
            verdict="failed",
        ),
    ]


def _heads() -> list[Misbehaviour]:
    """Heads that HTTP libraries refuse, or callers would."""
    body = json.dumps(message()).encode()
    said = (token(), finish(), usage(), DONE)

    def headed(name: str, *headers: str | bytes, verdict: Verdict = "good", status: str = "200 OK") -> Misbehaviour:
        tokens = TOKENS if verdict == "good" else None
        return Misbehaviour(
            name,
            streamed=[stream_of(*said, headers=headers)],
            whole=[whole_answer(body, status, *headers)],
            verdict=verdict,
            tokens=tokens,
        )

    def raw(
        name: str, *pieces: Piece, verdict: Verdict = "failed", tokens: tuple[int, int] | None = None
    ) -> Misbehaviour:
        return Misbehaviour(name, whole=pieces, verdict=verdict, tokens=tokens)

    def retry(name: str, *headers: str, status: str = "429 Slow") -> Misbehaviour:
        return raw(name, whole_answer(b'{"error":{"message":"slow"}}', status, *headers))

    return [
        headed("header-of-9-kb", f"Set-Cookie: a={'x' * 9_000}"),
        headed("passed-header-of-9-kb", f"openai-organization: {'x' * 9_000}"),
        headed("header-of-100-kb", f"Set-Cookie: a={KEY}{'x' * 100_000}", verdict="failed"),
        headed("120-headers", *(f"x-ratelimit-{number}: {'x' * 500}" for number in range(120))),
        headed("2000-headers", *(f"x-{number}: x" for number in range(2_000)), verdict="failed"),
        headed("latin-1-headers", b"x-request-id: caf\xe9", b"openai-organization: caf\xe9"),
        headed(
            "control-characters-in-headers", b"x-request-id: a\x01b", b"openai-organization: a\x7fb", verdict="either"
        ),
        headed("nul-in-headers", b"x-request-id: a\x00b", verdict="either"),
        headed("key-in-headers", f"x-request-id: {KEY}", f"openai-echo: {KEY}", f"WWW-Authenticate: Bearer {KEY}"),
        headed("request-id-of-8-kb", f"x-request-id: {'r' * 8_000}"),
        headed("retry-after-on-success", "Retry-After: nonsense", "retry-after-ms: -5"),
        retry("retry-after-ms-5000-digits", f"retry-after-ms: {'9' * 5_000}"),
        retry("retry-after-in-the-year-of-20-digits", "Retry-After: 1 Jan 99999999999999999999 00:00:00 GMT"),
        retry("retry-after-nan", "Retry-After: nan", status="503 Slow"),
        retry("retry-after-infinity", "Retry-After: inf", status="503 Slow"),
        retry("retry-after-negative", "Retry-After: -1e400"),
        retry("retry-after-long-ago", "Retry-After: Thu, 01 Jan 1970 00:00:00 GMT"),
        raw("status-600", whole_answer(b"{}", "600 Odd")),
        raw("status-999", whole_answer(b"{}", "999 Odd")),
        raw("status-99", whole_answer(b"{}", "099 Odd")),
        raw("status-in-words", whole_answer(b"{}", "OK fine")),
        raw("status-307", whole_answer(b"", "307 Away", "Location: http://127.0.0.1:9/v1")),
        raw("status-304", answer_head("304 Same")),
        raw("status-204", answer_head("204 Nothing")),
        raw("status-101", answer_head("101 Switching", "Upgrade: x", "Connection: Upgrade")),
        raw("no-http", b"SSH-2.0-OpenSSH_9.6\r\n"),
        raw("tls-hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20),
        raw("nothing-at-all"),
        raw("reset-at-once", Act.RESET),
        raw("length-too-long", answer_head("200 OK", "Content-Length: 9999") + body),
        raw("length-too-short", answer_head("200 OK", "Content-Length: 20") + body, verdict="failed"),
        raw("length-negative", answer_head("200 OK", "Content-Length: -5") + body),
        raw("length-absurd", answer_head("200 OK", f"Content-Length: {'9' * 100}") + body),
        raw("two-lengths", answer_head("200 OK", "Content-Length: 5", f"Content-Length: {len(body)}") + body),
        raw(
            "length-and-chunks",
            answer_head("200 OK", "Content-Length: 5", "Transfer-Encoding: chunked") + chunked(body),
            verdict="either",
        ),
        raw("body-reset", answer_head("200 OK", "Content-Length: 9999") + body, Act.PAUSE, Act.RESET),
        raw("http-1-0", b"HTTP/1.0 200 OK\r\n\r\n" + body, verdict="good", tokens=TOKENS),
        raw(
            "trailers",
            answer_head("200 OK", "Transfer-Encoding: chunked") + chunked(body, ended=False) + b"0\r\nx: y\r\n\r\n",
            verdict="good",
            tokens=TOKENS,
        ),
    ]


def _cut_gzip(data: bytes) -> bytes:
    return gzip.compress(data)[:-12]


def _encodings() -> list[Misbehaviour]:
    """Compression that nobody asked for."""
    body = json.dumps(message()).encode()
    said = token() + finish() + usage() + DONE

    def encoded(name: str, encoding: str, pack: Any, verdict: Verdict = "good") -> Misbehaviour:
        return Misbehaviour(
            name,
            streamed=[stream_of(pack(said), headers=[f"Content-Encoding: {encoding}"])],
            whole=[whole_answer(pack(body), "200 OK", f"Content-Encoding: {encoding}")],
            verdict=verdict,
            tokens=TOKENS if verdict == "good" else None,
        )

    bomb = gzip.compress(b" " * (64 * 1024 * 1024), compresslevel=9)
    return [
        encoded("gzip", "gzip", gzip.compress),
        encoded("deflate", "deflate", zlib.compress),
        encoded("brotli", "br", brotli.compress),
        encoded("false-gzip", "gzip", bytes, "failed"),
        encoded("false-brotli", "br", bytes, "failed"),
        encoded("cut-gzip", "gzip", _cut_gzip, "either"),
        encoded("unknown-encoding", "rot13", bytes, "either"),
        Misbehaviour("gzip-bomb", whole=[whole_answer(bomb, "200 OK", "Content-Encoding: gzip")], verdict="failed"),
        Misbehaviour(
            "gzip-bomb-as-stream", streamed=[stream_of(bomb, headers=["Content-Encoding: gzip"])], verdict="failed"
        ),
    ]


def _sizes() -> list[Misbehaviour]:
    large = "x" * (ANSWER_LIMIT + 10)
    return [
        Misbehaviour(
            "event-past-the-limit", streamed=[stream_of(token(), token(large), finish(), DONE)], verdict="failed"
        ),
        Misbehaviour(
            "first-event-past-the-limit", streamed=[stream_of(token(large), finish(), DONE)], verdict="failed"
        ),
        Misbehaviour("no-blank-line", streamed=[stream_of(token(), b"data: " + large.encode())], verdict="failed"),
        Misbehaviour("comments-past-the-limit", streamed=[stream_of(b": x\n\n" * 300_000)], verdict="failed"),
        Misbehaviour("answer-past-the-limit", whole=[whole(message(large))], verdict="failed"),
        Misbehaviour(
            "event-of-half-the-limit",
            streamed=[stream_of(token("x" * (ANSWER_LIMIT // 2)), finish(), usage(), DONE)],
            whole=[whole(message("x" * (ANSWER_LIMIT // 2)))],
            tokens=TOKENS,
        ),
        Misbehaviour(
            "many-small-events", streamed=[stream_of(token("x") * 2_000, finish(), usage(), DONE)], tokens=TOKENS
        ),
        Misbehaviour(
            "more-text-than-is-kept",
            streamed=[stream_of(token("x" * 1_000) * 1_500, finish(), usage(), DONE)],
            tokens=TOKENS,
        ),
    ]


MISBEHAVIOURS = [
    *_ends(),
    *_errors(),
    *_shapes(),
    *_numbers(),
    *_texts(),
    *_types(),
    *_heads(),
    *_encodings(),
    *_sizes(),
]
