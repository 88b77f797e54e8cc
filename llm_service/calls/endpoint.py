"""The model endpoints, as plain ASGI: a framework's handling of a request costs more than all of the gateway's work."""

import asyncio
from dataclasses import dataclass

import aiohttp
import structlog
from starlette.types import Receive, Scope, Send

from llm_service.calls.passing import pass_on, studio_headers
from llm_service.calls.patience import Patience
from llm_service.calls.record import CallRecord
from llm_service.calls.request import Call, Operation, parse_call, read_body, read_caller
from llm_service.calls.streaming import StreamPassage
from llm_service.errors import CallerLeft, StreamBroken, problem_with_openai_error
from llm_service.pricing import PriceList
from llm_service.upstreams.exchange import Answer, Exchange
from llm_service.upstreams.routing import ModelRouter, Target
from llm_service.upstreams.upstream import Upstream
from studio.errors import DependencyUnavailable, StudioError
from studio.tracing import SpanSender

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Gateway:
    """What the lifespan opened; `app.state.gateway`."""

    router: ModelRouter
    upstreams: dict[str, Upstream]
    prices: PriceList
    session: aiohttp.ClientSession
    spans: SpanSender
    ping_seconds: float
    content: bool
    """Whether spans carry what was said."""


class CallEndpoint:
    """`POST` of one operation. Every call that gets here leaves a span."""

    def __init__(self, operation: Operation) -> None:
        self.operation = operation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gateway: Gateway = scope["app"].state.gateway
        record = CallRecord(self.operation, read_caller(scope), gateway.prices)
        try:
            await _serve(gateway, record, receive, send)
        except CallerLeft as error:
            record.failed_by(error, "cancelled")
            await send({"type": "http.response.start", "status": error.status, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        except StudioError as error:
            record.failed_by(error)
            if isinstance(error, DependencyUnavailable):
                _log.warning("call.upstream_unreachable", upstream=error.dependency, cause=repr(error.__cause__))
            await problem_with_openai_error(error, studio_headers(record))(scope, receive, send)
        except asyncio.CancelledError:
            record.failed("cancelled", "shutdown", "The LLM engine was stopped.")
            raise
        except Exception as error:  # noqa: BLE001 - a bug of ours; no framework stands behind this to answer for it
            _log.error("request.crashed", exc_info=error)
            bug = StudioError("Something went wrong on our side. The request id finds it in the logs.")
            record.failed("error", bug.code, type(error).__name__)
            await problem_with_openai_error(bug, studio_headers(record))(scope, receive, send)
        finally:
            record.send(gateway.spans)


async def _serve(gateway: Gateway, record: CallRecord, receive: Receive, send: Send) -> None:
    raw = await read_body(receive)
    call = record.call = parse_call(record.operation, raw, record.caller)
    target = record.target = gateway.router.resolve(call.model)
    serving = _Serving(gateway, record, call, target, gateway.upstreams[target.upstream], receive, send)
    await (serving.stream() if call.stream else serving.whole())


@dataclass(slots=True)
class _Serving:
    """One call that is understood and has an upstream."""

    gateway: Gateway
    record: CallRecord
    call: Call
    target: Target
    upstream: Upstream
    receive: Receive
    send: Send

    async def whole(self) -> None:
        with self._patience():
            answer = await self._ask()
        await pass_on(self.record, self.upstream, answer, self.send)

    async def stream(self) -> None:
        ping_seconds, content = self.gateway.ping_seconds, self.gateway.content
        passage = StreamPassage(self.record, self.call, self.send, ping_seconds=ping_seconds, content=content)
        try:
            with self._patience() as patience:
                async with passage.pinging():
                    answer = await self._ask()
                    if answer.rest is not None:
                        try:
                            await passage.run(answer.body, answer.rest, patience)
                        finally:
                            answer.close()
        except StudioError as error:
            if not passage.started:
                raise
            if isinstance(error, CallerLeft):
                self.record.failed_by(error, "cancelled")
            else:
                await passage.fail(error)
            return
        finally:
            passage.into_record()
        if answer.rest is None:
            await self._unstreamed(answer, passage)

    async def _unstreamed(self, answer: Answer, passage: StreamPassage) -> None:
        """The upstream refused, or does not stream; pings may have said already that we do."""
        if not passage.started:
            await pass_on(self.record, self.upstream, answer, self.send)
        elif answer.ok:
            await passage.fail(StreamBroken(f"The upstream {self.upstream.name!r} does not stream this answer."))
        else:
            await passage.refuse(answer.status, self.upstream.redact(answer.body))

    def _patience(self) -> Patience:
        return Patience(self.receive, self.upstream.name, self.upstream.config.timeouts)

    async def _ask(self) -> Answer:
        record = self.record
        headers = self.upstream.headers()
        headers["traceparent"] = record.caller.traceparent
        headers["X-Request-Id"] = record.caller.request_id
        body = self.call.upstream_body(self.target.model, self.target.params)
        exchange = Exchange(self.gateway.session, self.upstream)
        try:
            answer = await exchange.run(record.operation.path, body, headers, stream=self.call.stream)
        finally:
            record.measured(exchange.upstream_seconds, exchange.attempts)
        record.answered_by(answer.headers.get("x-request-id"))
        return answer
