"""One call's span: filled in while the call goes on, sent when it has ended, however it ended."""

import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import structlog

from llm_service.calls.request import Call, Caller, Operation
from llm_service.pricing import UNPRICED, Cost, PriceList, format_usd
from llm_service.upstreams.answers import error_in
from llm_service.upstreams.routing import Target
from studio.contracts.base import Json, JsonObject, format_timestamp
from studio.contracts.llm import Usage, read_finish_reason, read_usage
from studio.contracts.secret_names import find_secret_name
from studio.contracts.spans import SpanStatus
from studio.errors import StudioError
from studio.foreign_json import UnreadableJson, find_usage, objects_in, read_foreign_json, write_storable
from studio.masking import describe_fault, mask
from studio.tracing import SpanSender
from studio.web.headers import header_text

ERROR_MESSAGE_CHARACTERS = 2_000
_LONGEST_ID = 256
_log = structlog.get_logger(__name__)


class CallRecord:
    """Knows what happened in one call."""

    def __init__(self, operation: Operation, caller: Caller, prices: PriceList) -> None:
        self.operation = operation
        self.caller = caller
        self.started = time.perf_counter()
        self._started_at = datetime.now(UTC)
        self._prices = prices
        self.call: Call | None = None
        self.target: Target | None = None
        self.usage: Usage | None = None
        self.output: Json = None
        self.first_token_at: float | None = None
        self.overhead_ms: float | None = None
        self.status: SpanStatus = "ok"
        self._priced: tuple[Usage, Cost] | None = None
        self._error_type: str | None = None
        self._error_message: str | None = None

    def price(self, usage: Usage) -> Decimal | None:
        return self._cost(usage).usd

    def _cost(self, usage: Usage | None) -> Cost:
        if usage is None or self.target is None:
            return UNPRICED
        if self._priced is None or self._priced[0] is not usage:
            self._priced = (usage, self._prices.cost(self.target.upstream, self.target.model, usage))
        return self._priced[1]

    def read_whole(self, body: bytes) -> None:
        """Take usage, output and finish reason out of an unstreamed answer; one that is none fails the call's span."""
        try:
            document = read_foreign_json(body)
        except UnreadableJson:
            for usage in find_usage(body):
                self.usage = read_usage(usage) or self.usage
            if self.usage is None:
                self.failed("error", "upstream-unreadable", "The upstream answered what is not JSON.")
            return
        error = error_in(document)
        if error is not None:
            self.failed("error", "upstream-error", error["message"])
        if not isinstance(document, dict):
            self.failed("error", "upstream-unreadable", "The upstream answered what is not a JSON object.")
            return
        answer = cast("JsonObject", document)
        self.usage = read_usage(answer.get("usage"))
        entries = objects_in(answer.get("data" if self.operation.name == "embeddings" else "choices"))
        if not entries:
            if error is None:
                self.failed("error", "upstream-unreadable", "The upstream's answer holds nothing of a model.")
            return
        if self.operation.name != "embeddings":
            written = [choice.get("message", choice.get("text")) for choice in entries]
            self.output = written[0] if len(written) == 1 else written
            self.finished(read_finish_reason(entries[0].get("finish_reason")))

    def finished(self, reason: Any) -> None:
        if isinstance(reason, str):
            self.caller.metadata.setdefault("finish_reason", reason)

    def measured(self, upstream_seconds: float, attempts: int) -> None:
        """Called when the answer is about to be passed on."""
        self.overhead_ms = max(0.0, (time.perf_counter() - self.started - upstream_seconds) * 1000)
        if attempts > 1:
            self.caller.metadata.setdefault("attempts", str(attempts))

    def answered_by(self, upstream_request_id: bytes | None) -> None:
        if upstream_request_id is not None:
            text = header_text(upstream_request_id[:_LONGEST_ID])
            self.caller.metadata.setdefault("upstream_request_id", text)

    def failed(self, status: SpanStatus, error_type: str, message: str) -> None:
        self.status = status
        self._error_type = error_type
        self._error_message = mask(message)[:ERROR_MESSAGE_CHARACTERS]

    def failed_by(self, error: StudioError, status: SpanStatus = "error") -> None:
        self.failed(status, error.code, error.detail)

    def refused_by_upstream(self, status: int, body: bytes) -> None:
        """The upstream's own error; `body` is redacted."""
        self.failed("error", f"upstream-{status}", upstream_message(body) or f"The upstream answered {status}.")

    def send(self, spans: SpanSender) -> None:
        """Never raises: whatever cannot be told of the call, that there was one is."""
        seconds = time.perf_counter() - self.started
        try:
            span = self._span(seconds)
        except Exception as error:  # noqa: BLE001 - it holds what the upstream sent, read by several libraries
            _log.error("span.not_complete", error=describe_fault(error))
            span = self._frame(seconds)
        spans.send_document(span)

    def _span(self, seconds: float) -> JsonObject:
        """A `studio.contracts.spans.Span` as JSON; null members are left out."""
        call = self.call
        members = self._frame(seconds) | {
            "params": self._params(),
            "input": call.body[self.operation.content] if call else None,
            "output": self.output,
        }
        if self.usage is not None:
            members |= self._usage_members(self.usage)
        return {name: value for name, value in members.items() if value is not None}

    def _frame(self, seconds: float) -> JsonObject:
        """The span's members that hold nothing of what was asked and answered."""
        call, target, caller = self.call, self.target, self.caller
        model = target.model if target else (call.model if call else None)
        members: JsonObject = {
            "trace_id": caller.trace_id,
            "span_id": caller.span_id,
            "parent_span_id": caller.parent_span_id,
            "name": f"{self.operation.name} {model}" if model else self.operation.name,
            "kind": self.operation.span_kind,
            "project_id": caller.project_id,
            "session_id": caller.session_id,
            "user_id": caller.user_id,
            "run_id": caller.run_id,
            "step_id": caller.step_id,
            "prompt_id": caller.prompt_id,
            "prompt_version": caller.prompt_version,
            "model": model,
            "upstream": target.upstream if target else None,
            "status": self.status,
            "error_type": self._error_type,
            "error_message": self._error_message,
            "started_at": format_timestamp(self._started_at),
            "ended_at": format_timestamp(self._started_at + timedelta(seconds=seconds)),
            "ttft_ms": (self.first_token_at - self.started) * 1000 if self.first_token_at is not None else None,
            "overhead_ms": self.overhead_ms,
            "metadata": caller.metadata,
        }
        return {name: value for name, value in members.items() if value is not None}

    def _usage_members(self, usage: Usage) -> JsonObject:
        cost = self._cost(usage)
        return {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
            "audio_tokens": usage.audio_tokens,
            "reasoning_tokens": usage.reasoning_tokens,
            "usage_source": "provider" if self.status in {"ok", "error"} else "partial",
            "cost_usd": None if cost.usd is None else format_usd(cost.usd),
            "cost_source": cost.source,
            "price_revision": cost.revision,
        }

    def _params(self) -> JsonObject | None:
        if self.call is None:
            return None
        filled_in = self.target.params if self.target else {}
        params = {**filled_in, **self.call.params(self.operation)}
        return {name: value for name, value in params.items() if find_secret_name({name: value}) is None} or None


def upstream_message(body: bytes) -> str | None:
    """`error.message` out of an OpenAI-shaped error body, or what there is of text."""
    try:
        parsed = read_foreign_json(body)
    except UnreadableJson:
        return body.decode("utf-8", "replace").strip() or None
    error: Any = cast("JsonObject", parsed).get("error", parsed) if isinstance(parsed, dict) else parsed
    message: Any = cast("JsonObject", error).get("message") if isinstance(error, dict) else error
    return message if isinstance(message, str) else write_storable(error).decode()
