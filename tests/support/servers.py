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

from cli.stack.parts import Part
from cli.stack.probes import NotReady, ask
from cli.stack.process import spawn, stop

START_SECONDS = 60.0


@contextmanager
def running(part: Part, log: Path, user: str | None = None) -> Generator[Part]:
    """Start `part`, wait until it is ready, stop it at the end; killed at once when this process dies."""
    env = {**os.environ, **part.env}  # noqa: TID251 - a child's environment
    child = spawn(part.command, log=log, env=env, death_signal=signal.SIGKILL, user=user)
    try:
        # In a thread of its own: an async test may ask for a server while its loop runs.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, _ready(part, child, log)).result()
        yield part
    finally:
        stop(child, grace_seconds=5)


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
