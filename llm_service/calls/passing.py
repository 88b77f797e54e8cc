"""What of an upstream's answer the caller gets, and what the gateway adds to it."""

import re

from starlette.types import Send

from llm_service.calls.record import CallRecord
from llm_service.pricing import format_usd
from llm_service.upstreams.answers import Answer
from studio.masking import mask

RawHeaders = list[tuple[bytes, bytes]]

_PASSED_HEADERS = frozenset({"content-type", "retry-after", "retry-after-ms", "x-should-retry"})
_PASSED_PREFIXES = ("x-ratelimit-", "openai-")
"""An allow-list: other headers of a gateway behind us may hold its addresses."""
_PASSED_BYTES = 6 * 1024
"""Of all of them together: many clients take no more than 8 KiB of headers."""
_LONGEST_ID = 256
_SAFE_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
"""A header's value as RFC 9110 has it."""


def studio_headers(record: CallRecord) -> dict[str, str]:
    headers = {"X-Studio-Trace-Id": record.caller.trace_id}
    if record.target is not None:
        headers["X-Studio-Upstream"] = record.target.upstream
    if record.overhead_ms is not None:
        headers["X-Studio-Overhead-Ms"] = f"{record.overhead_ms:.3f}"
    return headers


def raw_studio_headers(record: CallRecord) -> RawHeaders:
    return [(name.lower().encode(), value.encode()) for name, value in studio_headers(record).items()]


def passed_headers(answer: Answer) -> RawHeaders:
    """What the caller sees of the upstream's headers: those of the allow-list that any client of HTTP can take."""
    headers: RawHeaders = []
    room = _PASSED_BYTES
    for name, value in answer.headers.items():
        lower = name.lower()
        if lower in _PASSED_HEADERS or lower.startswith(_PASSED_PREFIXES):
            raw = raw_value(value)
            room -= len(lower) + len(raw)
            if room >= 0 and _SAFE_VALUE.fullmatch(raw):
                headers.append((lower.encode("ascii", "ignore"), mask(raw)))
    return headers


def raw_value(value: str) -> bytes:
    """The bytes of a header's value as they came: our HTTP client keeps those that are not UTF-8 as surrogates."""
    return value.encode("utf-8", "surrogateescape")


async def pass_on(record: CallRecord, answer: Answer, send: Send) -> None:
    """Send a whole answer: the upstream's bytes, or its own error with its status and request id.

    Neither holds a secret of ours: some upstreams repeat the key that they refuse, with a good status too.
    """
    headers = passed_headers(answer) + raw_studio_headers(record)
    body = mask(answer.body)
    if answer.ok:
        record.read_whole(body)
        cost = record.price(record.usage) if record.usage is not None else None
        if cost is not None:
            headers.append((b"x-studio-cost-usd", format_usd(cost).encode()))
    else:
        record.refused_by_upstream(answer.status, body)
        upstream_id = answer.headers.get("x-request-id")
        if upstream_id is not None and _SAFE_VALUE.fullmatch(raw_value(upstream_id)[:_LONGEST_ID]):
            headers.append((b"x-request-id", mask(raw_value(upstream_id)[:_LONGEST_ID])))
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
