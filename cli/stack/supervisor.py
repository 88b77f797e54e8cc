"""Brings a plan up, keeps it up and takes it down in order."""

import asyncio
import os
import signal
import time

from cli.stack.environment import MIGRATIONS, inherited
from cli.stack.failures import StartFailed, describe
from cli.stack.keeper import PartKeeper
from cli.stack.logs import tail
from cli.stack.parts import python_module
from cli.stack.plan import STOP_ORDER, Plan
from cli.stack.process import spawn, watch_end
from cli.stack.process import stop as stop_process
from cli.stack.screen import Screen
from cli.stack.state import DataFolder, StackState, created
from studio.tasks import end_tasks

_MARGIN_SECONDS = 10.0


class Supervisor:
    def __init__(self, plan: Plan, folder: DataFolder, screen: Screen) -> None:
        self._plan = plan
        self._folder = folder
        self._screen = screen
        self._keepers = {
            part.name: PartKeeper(part, folder, changed=self._publish, say=screen.say) for part in plan.parts
        }
        self._fault: str | None = None
        self._migrated = asyncio.Event()
        self._stop = asyncio.Event()
        self._state = StackState(
            data=str(folder.root),
            pid=os.getpid(),
            created=created(os.getpid()) or 0.0,
            parts=[keeper.state for keeper in self._keepers.values()],
            stop_seconds=sum(part.stop_seconds for part in plan.parts) + _MARGIN_SECONDS,
        )

    async def run(self) -> None:
        """Until SIGINT or SIGTERM. Raises `StartFailed`; whatever happens, what was started is stopped."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        self._folder.write(self._state)
        try:
            await self._keep_up()
        finally:
            await self._take_down()

    async def _keep_up(self) -> None:
        began = time.monotonic()
        stop = asyncio.create_task(self._stop.wait())
        ready = asyncio.create_task(self._all_ready())
        work = [asyncio.create_task(self._keep(keeper)) for keeper in self._keepers.values()]
        work.append(asyncio.create_task(self._migrate()))
        failed = asyncio.gather(*work)  # done only when one of them raises: keepers run until they are cancelled
        try:
            await asyncio.wait([stop, ready, failed], return_when=asyncio.FIRST_COMPLETED)
            if ready.done() and not failed.done():
                self._state.phase = "ready"
                self._screen.say(f"Everything is ready after {time.monotonic() - began:.1f} s. Ctrl-C stops it.")
                self._publish()
                await asyncio.wait([stop, failed], return_when=asyncio.FIRST_COMPLETED)
            if failed.done():
                failed.result()
        finally:
            await end_tasks(stop, ready, *work)
            await asyncio.gather(failed, return_exceptions=True)

    async def _keep(self, keeper: PartKeeper) -> None:
        for need in keeper.part.needs:
            event = self._migrated if need == MIGRATIONS else self._keepers[need].ready
            if not event.is_set():
                keeper.waits(need)
                await event.wait()
        await keeper.keep()

    async def _all_ready(self) -> None:
        await asyncio.gather(self._migrated.wait(), *(keeper.ready.wait() for keeper in self._keepers.values()))

    async def _migrate(self) -> None:
        """Start at once, in a process of its own (which alone may open the embedded trace store); it waits for the
        servers itself."""
        if self._plan.stores:
            log = self._folder.log(MIGRATIONS)
            command = python_module("cli.stack.migrations", *self._plan.stores)
            child = spawn(command, log=log, env={**inherited(MIGRATIONS), **self._plan.migrations})
            try:
                code = await asyncio.shield(watch_end(child))
            finally:
                stop_process(child, grace_seconds=1)
            if code:
                raise StartFailed(f"The migrations failed. The end of {log}:\n{tail(log)}", exit_code=code)
            self._screen.say("The stores are at the newest schema.")
        self._migrated.set()

    def _on_signal(self) -> None:
        if self._stop.is_set():  # asked a second time: at once, then
            for keeper in self._keepers.values():
                keeper.kill()
        self._stop.set()

    async def _take_down(self) -> None:
        self._state.phase = "stopping"
        self._publish()
        self._screen.say("Stopping.")
        rest = [name for name in self._keepers if name not in STOP_ORDER]
        for group in (*([name] for name in STOP_ORDER), rest):
            await asyncio.gather(*(self._keepers[name].stop() for name in group if name in self._keepers))
        self._state.parts = []
        self._publish()
        self._screen.say("Everything is stopped.")

    def _publish(self) -> None:
        """On a full disk the parts go on; `studio status` shows what was written last."""
        self._screen.show(self._state)
        try:
            self._folder.write(self._state)
        except OSError as error:
            fault = describe(error)
            if fault != self._fault:
                self._screen.say(f"The state of the stack cannot be written. {fault}")
        else:
            fault = None
        self._fault = fault
