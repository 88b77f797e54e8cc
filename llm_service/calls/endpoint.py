"""The model endpoints, as plain ASGI: a framework's handling of a request costs more than all of the gateway's work."""

import asyncio
from dataclasses import dataclass

import structlog
from multidict import CIMultiDict
from starlette.types import Receive, Scope, Send

from llm_service.calls.conversion import as_events, as_whole
from llm_service.calls.passing import pass_on, raw_value, studio_headers
from llm_service.calls.patience import Patience
from llm_service.calls.record import CallRecord
from llm_service.calls.request import Call, Operation, parse_call, read_body, read_caller
from llm_service.calls.stream_events import StreamReader
from llm_service.calls.streaming import StreamPassage
from llm_service.errors import CallerLeft, problem_with_openai_error
from llm_service.pricing import PriceList
from llm_service.upstreams.answers import Answer, may_refuse_stream_options
from llm_service.upstreams.exchange import Exchange
from llm_service.upstreams.routing import ModelRouter, Target
from llm_service.upstreams.upstream import Upstream
from studio.clients.kept_connections import KeptConnections
from studio.errors import DependencyUnavailable, StudioError
from studio.masking import describe_fault, mask
from studio.tracing import SpanSender
from studio.web.json_route import LARGE_BYTES

_BUG = "Something went wrong on our side. The request id finds it in the logs."
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Gateway:
    """What the lifespan opened; `app.state.gateway`."""

    router: ModelRouter
    upstreams: dict[str, Upstream]
    prices: PriceList
    connections: KeptConnections
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
                _log.warning(
                    "call.upstream_unreachable", upstream=error.dependency, cause=describe_fault(error.__cause__)
                )
            await problem_with_openai_error(error, studio_headers(record))(scope, receive, send)
        except asyncio.CancelledError:
            record.failed("cancelled", "shutdown", "The LLM engine was stopped.")
            raise
        except Exception as error:  # noqa: BLE001 - a bug of ours; no framework stands behind this to answer for it
            _log.error("request.crashed", exc_info=error)
            bug = StudioError(_BUG)
            record.failed("error", bug.code, type(error).__name__)
            await problem_with_openai_error(bug, studio_headers(record))(scope, receive, send)
        finally:
            record.send(gateway.spans)


async def _serve(gateway: Gateway, record: CallRecord, receive: Receive, send: Send) -> None:
    raw = await read_body(receive)
    given = (record.operation, raw, record.caller)
    record.call = call = parse_call(*given) if len(raw) < LARGE_BYTES else await asyncio.to_thread(parse_call, *given)
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
        if answer.ok and answer.is_event_stream:
            reader = self._reader()
            try:
                answer = as_whole(self.record.operation, answer, reader, self.upstream.name)
            finally:  # what a broken answer cost is counted too
                self.record.usage, self.record.output = reader.usage, reader.output()
        await pass_on(self.record, answer, self.send)

    async def stream(self) -> None:
        passage = StreamPassage(
            self.record, self.upstream, self._reader(), self.send, ping_seconds=self.gateway.ping_seconds
        )
        try:
            await self._stream(passage)
        except CallerLeft as error:
            if not passage.started:
                raise
            self.record.failed_by(error, "cancelled")
        except StudioError as error:
            if passage.whole:  # all has come but the transport's end
                await passage.complete()
            elif passage.started:
                await passage.fail(error)
            else:
                raise
        except Exception as error:
            if not passage.started:
                raise
            _log.error("request.crashed", exc_info=error)
            await passage.fail(StudioError(_BUG))
        finally:
            passage.into_record()

    async def _stream(self, passage: StreamPassage) -> None:
        with self._patience() as patience:
            async with passage.pinging():
                answer = await self._ask()
                if answer.rest is not None:
                    try:
                        await passage.run(answer, patience)
                    except BaseException:
                        answer.close()
                        raise
        if answer.rest is not None:
            try:
                await answer.drain()
            finally:
                answer.close()
        elif answer.ok:
            await passage.run_whole(as_events(self.record.operation, answer, self.upstream.name), answer)
        elif passage.started:
            await passage.refuse(answer.status, mask(answer.body))
        else:
            await pass_on(self.record, answer, self.send)

    def _reader(self) -> StreamReader:
        return StreamReader(
            self.record.operation,
            wants_usage=self.call.wants_usage,
            price=self.record.price,
            content=self.gateway.content,
            max_event_bytes=self.upstream.max_answer_bytes,
        )

    def _patience(self) -> Patience:
        return Patience(self.receive, self.upstream.name, self.upstream.config.timeouts)

    async def _ask(self) -> Answer:
        record = self.record
        headers = self.upstream.headers()
        headers["traceparent"] = record.caller.traceparent
        headers["X-Request-Id"] = record.caller.request_id
        exchange = Exchange(self.gateway.connections, self.upstream, record.caller.retries)
        try:
            answer = await self._exchange(exchange, headers)
        finally:
            record.measured(exchange.upstream_seconds, exchange.attempts)
        request_id = answer.headers.get("x-request-id")
        record.answered_by(None if request_id is None else raw_value(request_id))
        return answer

    async def _exchange(self, exchange: Exchange, headers: CIMultiDict[str]) -> Answer:
        """Ask; once more without the question for usage when that may be what the upstream refuses."""
        call, model, path = self.call, self.target.model, self.record.operation.path
        asks_usage = call.stream and self.upstream.takes_stream_options(model)
        body = call.upstream_body(model, self.target.params, asks_usage=asks_usage)
        answer = await exchange.run(path, body, headers, stream=call.stream)
        if not asks_usage or not may_refuse_stream_options(answer):
            return answer
        body = call.upstream_body(model, self.target.params, asks_usage=False)
        plain = await exchange.run(path, body, headers, stream=True)
        if plain.status in {400, 422}:
            return answer
        if plain.ok:
            self.upstream.refuses_stream_options(model)
        return plain
