"""`studio up` in the foreground."""

import asyncio
import shutil
from collections.abc import Mapping, Sequence

import psutil
from rich.console import Console

from cli.stack.detached import UpOptions
from cli.stack.down import stop_leftovers
from cli.stack.failures import StartFailed
from cli.stack.parts import NotInstalled, Part
from cli.stack.plan import PlanError, make_plan
from cli.stack.ports import is_free, port_table
from cli.stack.screen import open_screen
from cli.stack.settings import stack_settings
from cli.stack.state import DataFolder
from cli.stack.supervisor import Supervisor

LEAST_FREE_BYTES = 16 << 20


def up(options: UpOptions, console: Console) -> None:
    """Run the stack until a signal. Raises `StartFailed`, `AlreadyRunning` and `SettingsError`."""
    ports = port_table(options.port_base)
    settings = stack_settings(options.data).without_own(ports)
    folder = DataFolder(settings.data_dir.resolve())
    warning = folder.make()
    free = shutil.disk_usage(folder.root).free
    if free < LEAST_FREE_BYTES:
        raise StartFailed(f"The disk of {folder.root} is full ({free / (1 << 20):.1f} MiB free).")
    with folder.hold(), open_screen(console) as screen:
        if warning:
            screen.say(warning)
        before = folder.last_state()
        if before:
            stop_leftovers(before, screen.say)
        try:
            plan = make_plan(settings, ports, options.only, folder)
        except PlanError as error:
            raise StartFailed(str(error), exit_code=2) from None
        except NotInstalled as error:
            raise StartFailed(str(error)) from None
        _check_ports(plan.parts)
        asyncio.run(Supervisor(plan, folder, screen).run())


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
