"""Keeps one part alive: starts it, asks whether it is ready, starts it again when it ends."""

import asyncio
import signal
import subprocess
import time
from collections.abc import Callable

from cli.stack.failures import StartFailed
from cli.stack.logs import rotate, tail
from cli.stack.parts import Part
from cli.stack.probes import NotReady, ask
from cli.stack.process import kill_session, spawn, watch_end
from cli.stack.settings import own_environment
from cli.stack.state import DataFolder, PartState, created
from studio.tasks import end_tasks

FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0
HEALTHY_SECONDS = 60.0
"""A part that lived this long starts again with the shortest pause."""
START_ATTEMPTS = 3
"""How often a part may end before it was ever ready; then the start has failed."""
START_SECONDS = 180.0
"""A part that is not ready by then never will be."""
EXTERNAL_SECONDS = 10.0
"""How long a server that somebody else runs may take to answer while we start."""
_STARTING_PAUSE_SECONDS = 0.1
_WATCH_PAUSE_SECONDS = 5.0


class PartKeeper:
    """`changed` is called after every change of `state`, `say` with a line for the person who watches."""

    def __init__(
        self, part: Part, folder: DataFolder, *, changed: Callable[[], None], say: Callable[[str], None]
    ) -> None:
        self.part = part
        self.state = PartState(name=part.name, address=part.address, external=part.external)
        self.ready = asyncio.Event()
        """Set when the part was ready for the first time."""
        self._folder = folder
        self._changed = changed
        self._say = say
        self._child: subprocess.Popen[bytes] | None = None
        self._ended: asyncio.Future[int] | None = None

    def waits(self, needs: str) -> None:
        self._set(ready=False, detail=f"waits for {needs}")

    async def keep(self) -> None:
        """Run until cancelled. Raises `StartFailed` when the part does not come up at all."""
        if not self.part.command:
            await self._watch(None)
            return
        backoff, early_ends = FIRST_BACKOFF_SECONDS, 0
        while True:
            started = time.monotonic()
            code = await self._live()
            early_ends = 0 if self.ready.is_set() else early_ends + 1
            if early_ends == START_ATTEMPTS:
                raise self._failure(f"ended {early_ends} times ({_how(code)})")
            if time.monotonic() - started > HEALTHY_SECONDS:
                backoff = FIRST_BACKOFF_SECONDS
            self._say(f"{self.part.name} ended ({_how(code)}); it starts again in {backoff:g} s")
            self._set(ready=False, detail=f"ended ({_how(code)}), starts again")
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, LONGEST_BACKOFF_SECONDS)

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL."""
        child, ended = self._child, self._ended
        if child is None or ended is None:
            return
        if not ended.done():
            self._set(ready=False, detail="stopping")
            child.terminate()
            await asyncio.wait([ended], timeout=self.part.stop_seconds)
        if not ended.done():
            self._say(f"{self.part.name} did not stop within {self.part.stop_seconds:g} s; killing it")
            child.kill()
        await ended
        self._forget(child)
        self._set(ready=False, detail="stopped")

    def kill(self) -> None:
        if self._child and self._ended and not self._ended.done():
            self._child.kill()

    async def _live(self) -> int:
        """One life of the process; returns its exit code."""
        log = self._folder.log(self.part.name)
        rotate(log)
        environment = {**own_environment(), **self.part.env}
        child = spawn(self.part.command, log=log, env=environment, death_signal=self.part.death_signal)
        self._child, self._ended = child, watch_end(child)
        self.state.pid, self.state.created = child.pid, created(child.pid)
        self._set(ready=False, detail="starting")
        watch = asyncio.create_task(self._watch(child.pid))
        try:
            await asyncio.wait([watch, self._ended], return_when=asyncio.FIRST_COMPLETED)
            if watch.done() and not self._ended.done():
                watch.result()  # it ends by itself only to raise
        finally:
            await end_tasks(watch)
        code = await self._ended
        self._forget(child)
        return code

    async def _watch(self, pid: int | None) -> None:
        limit = EXTERNAL_SECONDS if self.part.external else START_SECONDS
        began = time.monotonic()
        while True:
            try:
                fact = await ask(self.part.probe, pid)
            except NotReady as reason:
                if not self.ready.is_set() and time.monotonic() > began + limit:
                    raise self._never_ready(str(reason), limit) from None
                if self.state.ready:
                    self._say(f"{self.part.name} is not ready: {reason}")
                self._set(ready=False, detail=str(reason))
            else:
                if not self.state.ready:
                    self._say(f"{self.part.name} is ready: {self.part.address} ({time.monotonic() - began:.1f} s)")
                    began = time.monotonic()
                self._set(ready=True, detail=fact or None)
                self.ready.set()
            await asyncio.sleep(_WATCH_PAUSE_SECONDS if self.state.ready else _STARTING_PAUSE_SECONDS)

    def _never_ready(self, reason: str, limit: float) -> StartFailed:
        if self.part.external:
            return StartFailed(
                f"{self.part.name} at {self.part.address} cannot be reached: {reason}. Start it, correct its address "
                "in the settings, or unset that to let `studio up` run one.",
                exit_code=3,
            )
        return self._failure(f"was not ready after {limit:g} s: {reason}")

    def _failure(self, what: str) -> StartFailed:
        log = self._folder.log(self.part.name)
        return StartFailed(f"{self.part.name} {what}. The end of {log}:\n{tail(log)}")

    def _forget(self, child: "subprocess.Popen[bytes]") -> None:
        kill_session(child.pid)
        self.state.pid = self.state.created = None

    def _set(self, *, ready: bool, detail: str | None) -> None:
        if (self.state.ready, self.state.detail) != (ready, detail):
            self.state.ready, self.state.detail = ready, detail
            self._changed()


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
