"""Connections that send too much, too slowly, or not to their end."""

import asyncio
import contextlib
import time

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from studio.web.edge import transport
from tests.field.http.raw import answered, ask, connect
from tests.support.services import RunningApi

START = b"POST /api/v1/apply HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def _requests(status: int) -> float:
    return sum(
        sample.value
        for metric in REGISTRY.collect()
        if metric.name == "studio_http_request_duration_seconds"
        for sample in metric.samples
        if sample.name.endswith("_count") and sample.labels["status"] == str(status)
    )


class TestHeaders:
    async def test_one_that_never_ends(self, api: RunningApi) -> None:
        reader, writer = await connect(api.url)
        writer.write(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX-Large: ")
        answer = asyncio.create_task(answered(reader))
        for _ in range(1000):
            if answer.done():
                break
            writer.write(b"a" * 100_000)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
        assert (await answer)[0] == 431
        writer.close()

    async def test_too_many(self, api: RunningApi) -> None:
        lines = [f"X-{number}: 1" for number in range(transport.MAX_HEADERS)]
        assert (await ask(api.url, "GET /health/live HTTP/1.1", "Host: localhost", *lines))[0] == 431

    async def test_many_and_large_ones_are_taken(self, api: RunningApi) -> None:
        lines = [f"X-{number}: {'a' * 300}" for number in range(transport.MAX_HEADERS - 10)]
        assert (await ask(api.url, "GET /health/live HTTP/1.1", "Host: localhost", *lines))[0] == 200

    async def test_a_path_that_never_ends(self, api: RunningApi) -> None:
        assert (await ask(api.url, f"GET /{'a' * 1_000_000} HTTP/1.1", "Host: localhost"))[0] == 431


class TestTrailers:
    CHUNKED = START.replace(b"/apply", b"/agents") + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"

    @pytest.mark.parametrize(
        ("start", "piece"),
        [(b"0\r\nX: ", b"a" * 60_000), (b"0\r\n", b"X: b\r\n" * 10_000), (b"2;", b"a" * 60_000)],
        ids=["one that never ends", "ever more", "an extension of a chunk"],
    )
    async def test_without_end(self, api: RunningApi, start: bytes, piece: bytes) -> None:
        reader, writer = await connect(api.url)
        writer.write(self.CHUNKED + start)
        answer = asyncio.create_task(answered(reader))
        for _ in range(1000):
            if answer.done():
                break
            writer.write(piece)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
        assert (await answer)[0] == 431
        writer.close()

    async def test_are_no_headers(self, api: RunningApi) -> None:
        """A gateway that says who asks, and for what, may let trailers pass."""
        reader, writer = await connect(api.url)
        for method, path in (("POST", "agents"), ("PUT", "agents/a")):
            document = b'{"kind": "agent", "name": "a", "message": "x"}'
            start = self.CHUNKED.replace(b"POST /api/v1/agents", f"{method} /api/v1/{path}".encode())
            writer.write(start.replace(b"2\r\n{}\r\n", b""))
            writer.write(b"%x\r\n%b\r\n0\r\nIf-Match: another\r\n\r\n" % (len(document), document))
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.split(b" ")[1] in {b"201", b"200"}
            await reader.readuntil(b"}")
        writer.close()


class TestHalfSent:
    @pytest.fixture(autouse=True)
    def hasty(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(transport, "HEAD_SECONDS", 0.3)
        monkeypatch.setattr(transport, "BODY_GRACE_SECONDS", 0.5)

    @pytest.mark.parametrize(
        "sent", [b"", b"GET", b"GET /health/live HTTP/1.1\r\nHost: local", START + b"Content-Length: 9\r\n\r\n[1,"]
    )
    async def test_is_ended(self, api: RunningApi, sent: bytes) -> None:
        reader, writer = await connect(api.url)
        writer.write(sent)
        assert (await answered(reader))[0] == 408
        writer.close()

    @pytest.mark.parametrize("start", [b"GET /health/live HTTP/1.1\r\nX: ", START + b"Content-Length: 9999\r\n\r\n"])
    async def test_drop_by_drop_is_ended_too(self, api: RunningApi, start: bytes) -> None:
        reader, writer = await connect(api.url)
        writer.write(start)
        began = time.monotonic()
        answer = asyncio.create_task(answered(reader))
        while not answer.done() and time.monotonic() - began < 10:
            writer.write(b" ")
            await asyncio.wait([answer], timeout=0.05)
        assert (await answer)[0] == 408
        writer.close()

    async def test_a_connection_that_waits_for_its_next_request_is_kept(self, api: RunningApi) -> None:
        reader, writer = await connect(api.url)
        for _ in range(2):
            writer.write(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b" 200 " in await reader.readuntil(b"}")
            await asyncio.sleep(0.6)  # longer than a request may take to come
            assert not reader.at_eof()
        writer.close()


class TestCallerLeaves:
    @pytest.mark.parametrize(
        "path", ["apply", "agents", "workflows/validate", "workflows/w/runs", "runs/r/signals/s", "schedules/s/pause"]
    )
    async def test_while_it_sends_is_no_error(self, api: RunningApi, path: str) -> None:
        left, failed = _requests(499), _requests(500)
        with capture_logs() as logs:
            _, writer = await connect(api.url)
            writer.write(START.replace(b"apply", path.encode()) + b"Content-Length: 99\r\n\r\n[")
            await writer.drain()
            writer.close()
            async with asyncio.timeout(10):
                while _requests(499) == left:  # noqa: ASYNC110 - a counter has no event to wait for
                    await asyncio.sleep(0.01)
        assert _requests(500) == failed
        assert not [entry for entry in logs if entry["log_level"] in {"error", "warning"}]


class TestHead:
    @pytest.mark.parametrize("path", ["/health/live", "/api/v1/agents", "/docs", "/metrics", "/api/v1/runs"])
    async def test_is_get_without_the_body(self, api: RunningApi, path: str) -> None:
        status, answer = await ask(api.url, f"HEAD {path} HTTP/1.1", "Host: localhost")
        assert status == 200
        head, _, body = answer.partition(b"\r\n\r\n")
        assert body == b""
        length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length: "))
        assert int(length.removeprefix(b"content-length: ")) > 0

    async def test_of_what_is_not_there_and_of_what_cannot_be_got(self, api: RunningApi) -> None:
        assert (await ask(api.url, "HEAD /api/v1/agents/none HTTP/1.1", "Host: localhost"))[0] == 404
        assert (await ask(api.url, "HEAD /api/v1/apply HTTP/1.1", "Host: localhost"))[0] == 405

    async def test_of_the_models(self, engine: str) -> None:
        assert (await ask(engine, "HEAD /v1/models HTTP/1.1", "Host: localhost"))[0] == 200
