"""Real servers for tests, started from the definitions of the embedded stack."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from cli.stack.parts import Part
from cli.stack.probes import NotReady, ask
from cli.stack.process import spawn, stop

START_SECONDS = 60.0


class Server:
    """One that a test takes away and brings back, at the same address and on the same data."""

    def __init__(
        self, part: Part, log: Path, *, user: str | None = None, death: signal.Signals = signal.SIGKILL
    ) -> None:
        self.part = part
        self._log = log
        self._user = user
        self._death = death

    async def start(self) -> None:
        self._child = _spawn(self.part, self._log, self._user)
        await _ready(self.part, self._child, self._log)

    async def die(self) -> None:
        """At once, whatever it was doing."""
        self._child.send_signal(self._death)
        await asyncio.to_thread(self._child.wait)

    def freeze(self) -> None:
        """It keeps its connections and answers nothing."""
        self._child.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._child.send_signal(signal.SIGCONT)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await asyncio.to_thread(stop, self._child, 5)


@contextmanager
def running(part: Part, log: Path, user: str | None = None) -> Generator[Part]:
    """Start `part`, wait until it is ready, stop it at the end; killed at once when this process dies."""
    child = _spawn(part, log, user)
    try:
        # In a thread of its own: an async test may ask for a server while its loop runs.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, _ready(part, child, log)).result()
        yield part
    finally:
        stop(child, grace_seconds=5)


def _spawn(part: Part, log: Path, user: str | None) -> "subprocess.Popen[bytes]":
    env = {**os.environ, **part.env}  # noqa: TID251 - a child's environment
    return spawn(part.command, log=log, env=env, death_signal=signal.SIGKILL, user=user)


async def _ready(part: Part, child: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        if child.poll() is not None:
            raise RuntimeError(f"{part.name} ended with {child.returncode}:\n{_tail(log)}")
        try:
            await ask(part.probe, child.pid)
        except NotReady as reason:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{part.name} is not ready: {reason}\n{_tail(log)}") from None
            await asyncio.sleep(0.05)
        else:
            return


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]
