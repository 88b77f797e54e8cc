"""An OpenAI-compatible server on a raw socket that answers as no server should: by the name of the model asked for.

async with HostileUpstream(MISBEHAVIOURS) as upstream:
    ...  # a call of the model "usage-past-64-bits" is answered with what that misbehaviour says
"""

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Literal, Self

Verdict = Literal["good", "failed", "either"]


class Act(Enum):
    """What is done between bytes."""

    RESET = auto()
    """Cut the connection with a TCP reset."""
    HOLD = auto()
    """Say nothing more and wait until the other side leaves."""
    PAUSE = auto()
    """Let what was written arrive by itself."""


Piece = bytes | Act


@dataclass(frozen=True)
class Misbehaviour:
    """One way to answer; None for the form (streamed, whole) that it says nothing of."""

    name: str
    streamed: Sequence[Piece] | None = None
    whole: Sequence[Piece] | None = None
    verdict: Verdict = "good"
    """Whether the answer is complete, whatever its transport does."""
    tokens: tuple[int, int] | None = None
    """Prompt and completion tokens that it reports; None: none that can be."""
    whole_verdict: Verdict | None = None
    """When it differs for the whole answer."""
    slow: bool = False
    """Answered only when a deadline has passed."""


class HostileUpstream:
    """`url` has no `/v1`. `received` has the headers and bodies of all calls as they came."""

    def __init__(self, misbehaviours: Iterable[Misbehaviour]) -> None:
        self._by_name = {one.name: one for one in misbehaviours}
        self._tasks: set[asyncio.Task[None]] = set()
        self.received: list[tuple[bytes, bytes]] = []
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def calls_of(self, name: str) -> list[dict[str, Any]]:
        """The bodies of the calls that asked for this misbehaviour."""
        bodies = [json.loads(body) for _, body in self.received]
        return [body for body in bodies if body["model"] == name]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._converse(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One call a connection: what follows a misbehaviour is anybody's guess."""
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET"):
            writer.write(whole_answer(b'{"object":"list","data":[]}'))
            return
        length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        body = await reader.readexactly(int(length.split(b":")[1]))
        self.received.append((head, body))
        asked = json.loads(body)
        one = self._by_name[asked["model"]]
        pieces = one.streamed if asked.get("stream") else one.whole
        for piece in pieces if pieces is not None else (one.whole or one.streamed or ()):
            match piece:
                case bytes():
                    writer.write(piece)
                    await writer.drain()
                case Act.PAUSE:
                    await asyncio.sleep(0.005)
                case Act.HOLD:
                    await reader.read()
                    return
                case Act.RESET:
                    self._reset(writer)
                    return

    @staticmethod
    def _reset(writer: asyncio.StreamWriter) -> None:
        connection: socket.socket = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()


def answer_head(status: str = "200 OK", *headers: str | bytes, content_type: str | None = "application/json") -> bytes:
    lines: list[bytes] = [f"HTTP/1.1 {status}".encode(), b"Connection: close"]
    if content_type is not None:
        lines.append(f"Content-Type: {content_type}".encode())
    lines += [header.encode() if isinstance(header, str) else header for header in headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def whole_answer(
    body: bytes, status: str = "200 OK", *headers: str | bytes, content_type: str | None = "application/json"
) -> bytes:
    return answer_head(status, f"Content-Length: {len(body)}", *headers, content_type=content_type) + body


def chunked(body: bytes, *, ended: bool = True) -> bytes:
    return (f"{len(body):x}\r\n".encode() + body + b"\r\n" if body else b"") + (b"0\r\n\r\n" if ended else b"")


def stream_head(*headers: str | bytes, content_type: str | None = "text/event-stream") -> bytes:
    return answer_head("200 OK", "Transfer-Encoding: chunked", *headers, content_type=content_type)


def stream_of(
    *events: bytes,
    ended: bool = True,
    headers: Sequence[str | bytes] = (),
    content_type: str | None = "text/event-stream",
) -> bytes:
    """A whole streamed answer in one piece."""
    return stream_head(*headers, content_type=content_type) + chunked(b"".join(events), ended=ended)


def event(document: Any) -> bytes:
    return b"data: " + (document if isinstance(document, bytes) else json.dumps(document).encode()) + b"\n\n"
