"""One call to an upstream: its attempts, until an answer has begun to come."""

import asyncio
import math
import random
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy

from llm_service.errors import UnreadableAnswer, UpstreamTimeout, UpstreamUnreachable
from llm_service.upstreams.answers import Answer, read_stream_start, read_whole_body, unreadable_reason
from llm_service.upstreams.upstream import Upstream
from studio.clients.kept_connections import KeptConnections

SHORT_RETRY_AFTER_SECONDS = 5.0
"""Who asks for a longer wait gets none from us: the caller sees the 429 and decides."""
FIRST_BACKOFF_SECONDS = 0.25
LONGEST_BACKOFF_SECONDS = 4.0
_FAULTS = (aiohttp.ClientError, ConnectionError, TimeoutError)


class Exchange:
    """Sends a request until something other than a passing fault comes back.

    429 (unless it asks for a long wait, or the quota is used up), 5xx and connection faults are repeated with jitter
    as often as the upstream's `retries` say, and `retries` as the most that the caller wants: one who retries himself
    wants none. An answer that cannot be read is not asked for again: it was given, and paid for. The caller holds the
    total deadline around `run`.
    """

    def __init__(self, connections: KeptConnections, upstream: Upstream, retries: int | None = None) -> None:
        self._connections = connections
        self._upstream = upstream
        configured = upstream.config.retries
        self._retries = configured if retries is None else min(retries, configured)
        self.attempts = 0
        self.upstream_seconds = 0.0
        """Time spent on the wire and at the upstream, without the waits between attempts."""

    async def run(self, path: str, payload: bytes, headers: CIMultiDict[str], *, stream: bool) -> Answer:
        """The first answer that counts: also an error of the upstream when retries are used up.

        Raises `UpstreamUnreachable`, `UnreadableAnswer`, or `UpstreamTimeout` for a stream without a first event.
        """
        first = self.attempts
        while True:
            self.attempts += 1
            last = self.attempts - first > self._retries
            fault: BaseException | None = None
            answer: Answer | None = None
            try:
                answer = await self._attempt(path, payload, headers, stream=stream)
            except _FAULTS as error:
                fault = error
            if answer is not None and (answer.ok or last or not _is_passing(answer)):
                return answer
            wait = self._wait_before_next(answer)
            if wait is None and answer is not None:
                return answer
            if last or wait is None:
                raise self._failure(fault)
            await asyncio.sleep(wait)

    async def _attempt(self, path: str, payload: bytes, headers: CIMultiDict[str], *, stream: bool) -> Answer:
        started = time.perf_counter()
        try:
            return await self._send(path, payload, headers, stream=stream)
        finally:
            self.upstream_seconds += time.perf_counter() - started

    async def _send(self, path: str, payload: bytes, headers: CIMultiDict[str], *, stream: bool) -> Answer:
        """Raises `UnreadableAnswer` for what another attempt would not change, and `_FAULTS` for the rest."""
        timeouts = self._upstream.config.timeouts
        async with asyncio.timeout(timeouts.first_byte if stream else None) as deadline:
            try:
                response = await self._connections.post(
                    self._upstream.url(path),
                    payload,
                    headers=headers,
                    timeout=self._upstream.connect_timeout,
                    allow_redirects=False,
                )
            except aiohttp.ClientResponseError as error:
                raise self._unreadable(unreadable_reason(error)) from error
            try:
                self._check_head(response)
                if stream and response.status == 200:
                    return await read_stream_start(response, self._upstream, deadline)
                return await read_whole_body(response, self._upstream)
            except aiohttp.ClientPayloadError as error:
                response.close()
                if response.status >= 300:
                    raise
                raise self._unreadable(unreadable_reason(error)) from error
            except BaseException:
                response.close()
                raise

    def _check_head(self, response: aiohttp.ClientResponse) -> None:
        """Refuse a status that HTTP does not know, and a redirect: following it would take the key elsewhere."""
        if 300 <= response.status < 400:
            raise self._unreadable(f"a redirect (status {response.status}); check the upstream's base_url")
        if not 200 <= response.status < 600:
            raise self._unreadable(f"the status {response.status}, which HTTP does not know")

    def _unreadable(self, reason: str) -> UnreadableAnswer:
        return UnreadableAnswer(f"The upstream {self._upstream.name!r} sent an answer that cannot be read: {reason}.")

    def _wait_before_next(self, answer: Answer | None) -> float | None:
        """Seconds; None when the upstream asks for more than we wait."""
        asked = _retry_after(answer.headers) if answer is not None else None
        if asked is not None and asked > SHORT_RETRY_AFTER_SECONDS:
            return None
        backoff = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** (self.attempts - 1))
        jittered = random.uniform(0.5, 1) * backoff
        return jittered if asked is None else asked + jittered / 10

    def _failure(self, fault: BaseException | None) -> UpstreamUnreachable | UpstreamTimeout:
        name = self._upstream.name
        tried = f"after {self.attempts} attempts" if self.attempts > 1 else "after one attempt"
        if isinstance(fault, TimeoutError) and not isinstance(fault, aiohttp.ClientError):
            seconds = self._upstream.config.timeouts.first_byte
            failure = UpstreamTimeout(
                f"The upstream {name!r} sent nothing within {seconds:g} s (timeouts.first_byte), {tried}."
            )
        else:
            failure = UpstreamUnreachable(name, f"The upstream {name!r} does not answer {tried}. Try again shortly.")
        failure.__cause__ = fault
        return failure


def _is_passing(answer: Answer) -> bool:
    if answer.status == 429:
        return b"insufficient_quota" not in answer.body
    return answer.status >= 500 and answer.status != 501


def _retry_after(headers: CIMultiDictProxy[str]) -> float | None:
    """Seconds out of `retry-after-ms`, or of `Retry-After` as seconds or as a date; None for what is neither."""
    try:
        seconds = float(headers["retry-after-ms"]) / 1000
        return max(0.0, seconds) if math.isfinite(seconds) else None
    except (KeyError, ValueError):
        pass
    text = headers.get("Retry-After")
    if text is None:
        return None
    try:
        seconds = float(text)
        return max(0.0, seconds) if math.isfinite(seconds) else None
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(text)
        return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
