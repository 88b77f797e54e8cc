"""`studio up`: in the foreground, or as a process in the background."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console

from cli.stack.down import stop_leftovers
from cli.stack.keeper import StartFailed
from cli.stack.logs import tail
from cli.stack.parts import NotInstalled, Part
from cli.stack.plan import PlanError, make_plan
from cli.stack.ports import is_free, port_table
from cli.stack.screen import Screen, open_screen
from cli.stack.settings import StackSettings, own_environment
from cli.stack.state import DataFolder, StackState
from cli.stack.supervisor import Supervisor
from studio.settings import load_settings

_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class UpOptions:
    data: Path | None
    port_base: int | None
    only: Sequence[str]

    def arguments(self) -> list[str]:
        base = ["--port-base", str(self.port_base)] if self.port_base is not None else []
        data = ["--data", str(self.data)] if self.data else []
        return [*data, *base, *(argument for part in self.only for argument in ("--only", part))]


def up(options: UpOptions, console: Console) -> None:
    """Run the stack until a signal. Raises `StartFailed`, `AlreadyRunning` and `SettingsError`."""
    settings = stack_settings(options.data)
    folder = DataFolder(settings.data_dir.resolve())
    with folder.hold(), open_screen(console) as screen:
        before = folder.last_state()
        if before:
            stop_leftovers(before, screen.say)
        try:
            plan = make_plan(settings, port_table(options.port_base), options.only, folder)
        except PlanError as error:
            raise StartFailed(str(error), exit_code=2) from None
        except NotInstalled as error:
            raise StartFailed(str(error)) from None
        _check_ports(plan.parts)
        asyncio.run(Supervisor(plan, folder, screen).run())


def up_detached(options: UpOptions, console: Console) -> StackState:
    """Start the stack in the background and return once everything is ready. Raises what `up` raises."""
    folder = DataFolder(stack_settings(options.data).data_dir.resolve())
    if folder.is_held():
        with folder.hold():  # raises `AlreadyRunning`, with its message
            pass
    log = folder.log("stack")
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-P", "-m", "cli.main", "up", *options.arguments()]
    with log.open("wb") as output:
        child = subprocess.Popen(  # noqa: S603 - our own command
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=own_environment(),
            start_new_session=True,
        )
    try:
        with open_screen(console) as screen:
            return _follow(child, folder, screen)
    except KeyboardInterrupt:
        child.terminate()
        child.wait()
        raise


def _follow(child: "subprocess.Popen[bytes]", folder: DataFolder, screen: Screen) -> StackState:
    while True:
        code = child.poll()
        if code is not None:
            raise StartFailed(tail(folder.log("stack"), 40), exit_code=code if code > 0 else 1)
        state = folder.last_state()
        if state and state.pid == child.pid:
            screen.show(state)
            if state.ready:
                return state
        time.sleep(_POLL_SECONDS)


def stack_settings(data: Path | None) -> StackSettings:
    return load_settings(StackSettings, **({"data_dir": data} if data else {}))


def _check_ports(parts: Sequence[Part]) -> None:
    taken = [part for part in parts if part.port and not part.external and not is_free(part.host, part.port)]
    if taken:
        owners = _listeners()
        lines = [f"Port {part.port} for {part.name} is taken{owners.get(part.port or 0, '')}." for part in taken]
        advice = "Stop what listens there, use other ports with `--port-base N`, or set the address of that server."
        raise StartFailed("\n".join([*lines, advice]))


def _listeners() -> Mapping[int, str]:
    """Port to ` by NAME (process N)`, as far as the system lets us see."""
    try:
        found = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return {}
    names: dict[int, str] = {}
    for one in found:
        if one.status == psutil.CONN_LISTEN and one.pid and one.laddr:
            try:
                names[one.laddr.port] = f" by {psutil.Process(one.pid).name()} (process {one.pid})"
            except psutil.Error:
                continue
    return names
