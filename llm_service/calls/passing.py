"""What of an upstream's answer the caller gets, and what the gateway adds to it."""

from starlette.types import Send

from llm_service.calls.record import CallRecord
from llm_service.pricing import format_usd
from llm_service.upstreams.exchange import Answer
from llm_service.upstreams.upstream import Upstream

RawHeaders = list[tuple[bytes, bytes]]

_PASSED_HEADERS = frozenset({"content-type", "retry-after", "retry-after-ms", "x-should-retry"})
_PASSED_PREFIXES = ("x-ratelimit-", "openai-")
"""An allow-list: other headers of a gateway behind us may hold its addresses."""


def studio_headers(record: CallRecord) -> dict[str, str]:
    headers = {"X-Studio-Trace-Id": record.caller.trace_id}
    if record.target is not None:
        headers["X-Studio-Upstream"] = record.target.upstream
    if record.overhead_ms is not None:
        headers["X-Studio-Overhead-Ms"] = f"{record.overhead_ms:.3f}"
    return headers


def raw_studio_headers(record: CallRecord) -> RawHeaders:
    return [(name.lower().encode(), value.encode()) for name, value in studio_headers(record).items()]


def _passed(answer: Answer) -> RawHeaders:
    headers: RawHeaders = []
    for name, value in answer.headers.items():
        lower = name.lower()
        if lower in _PASSED_HEADERS or lower.startswith(_PASSED_PREFIXES):
            headers.append((lower.encode(), value.encode()))
    return headers


async def pass_on(record: CallRecord, upstream: Upstream, answer: Answer, send: Send) -> None:
    """Send a whole answer: the upstream's bytes, or its own error with its status and request id."""
    headers = _passed(answer) + raw_studio_headers(record)
    body = answer.body
    if answer.ok:
        record.read_whole(body)
        cost = record.price(record.usage) if record.usage is not None else None
        if cost is not None:
            headers.append((b"x-studio-cost-usd", format_usd(cost).encode()))
    else:
        body = upstream.redact(body)
        record.refused_by_upstream(answer.status, body)
        upstream_id = answer.headers.get("x-request-id")
        if upstream_id is not None:
            headers.append((b"x-request-id", upstream_id.encode()))
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
