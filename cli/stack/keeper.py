"""Keeps one part alive: starts it, asks whether it is ready, starts it again when it ends."""

import asyncio
import signal
import subprocess
import time
from collections.abc import Callable

from cli.stack.environment import inherited
from cli.stack.failures import StartFailed
from cli.stack.logs import rotate, tail
from cli.stack.parts import Part
from cli.stack.probes import Fact, NotReady, ask
from cli.stack.process import kill_session, spawn, watch_end
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
_QUICK_SECONDS = 15.0
"""A part that takes longer to start is asked less often, and we say what it waits for."""
_SLOW_PAUSE_SECONDS = 2.0
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
        self._away_since = time.monotonic()
        """When it was first started, or last stopped being ready."""
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
        self._away_since = time.monotonic()
        while True:
            started = time.monotonic()
            how = await self._live()
            early_ends = 0 if self.ready.is_set() else early_ends + 1
            if early_ends == START_ATTEMPTS:
                raise self._failure(f"ended {early_ends} times ({how})")
            if time.monotonic() - started > HEALTHY_SECONDS:
                backoff = FIRST_BACKOFF_SECONDS
            self._say(f"{self.part.name} ended ({how}); it starts again in {backoff:g} s")
            self._set(ready=False, detail=f"ended ({how}), starts again")
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

    async def _live(self) -> str:
        """One life of the process; returns how it ended."""
        log = self._folder.log(self.part.name)
        environment = {**inherited(self.part.name), **self.part.env}
        try:
            rotate(log)
            child = spawn(self.part.command, log=log, env=environment, death_signal=self.part.death_signal)
        except OSError as error:
            return f"cannot be started: {error.strerror}: {error.filename}"
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
        return _how(code)

    async def _watch(self, pid: int | None) -> None:
        limit = EXTERNAL_SECONDS if self.part.external else START_SECONDS
        began = time.monotonic()
        slow = False
        while True:
            try:
                fact = await ask(self.part.probe, pid)
            except NotReady as reason:
                if not self.ready.is_set() and not reason.waits and time.monotonic() > began + limit:
                    raise self._never_ready(str(reason), limit) from None
                if self.state.ready:
                    self._say(f"{self.part.name} is not ready: {reason}")
                elif not slow and time.monotonic() > max(began, self._away_since) + _QUICK_SECONDS:
                    slow = True
                    self._say(f"{self.part.name} is not ready yet: {reason}")
                self._set(ready=False, detail=str(reason))
            else:
                slow = False
                self._say_ready(fact)
                self._set(ready=True, detail=fact.text or None, degraded=fact.degraded)
                self.ready.set()
            starting = _SLOW_PAUSE_SECONDS if slow else _STARTING_PAUSE_SECONDS
            await asyncio.sleep(_WATCH_PAUSE_SECONDS if self.state.ready else starting)

    def _say_ready(self, fact: Fact) -> None:
        """When it was not ready, or not degraded in this way."""
        name = self.part.name
        if not self.state.ready:
            seconds = time.monotonic() - self._away_since
            again = " again" if self.ready.is_set() else ""
            self._say(f"{name} is ready{again}: {self.part.address} (after {seconds:.1f} s)")
        if fact.degraded and fact.text != self.state.detail:
            self._say(f"{name} is {fact.text}")
        elif self.state.degraded and not fact.degraded:
            self._say(f"{name} is no longer degraded")

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

    def _set(self, *, ready: bool, detail: str | None, degraded: bool = False) -> None:
        if self.state.ready and not ready:
            self._away_since = time.monotonic()
        if (self.state.ready, self.state.detail, self.state.degraded) != (ready, detail, degraded):
            self.state.ready, self.state.detail, self.state.degraded = ready, detail, degraded
            self._changed()


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
