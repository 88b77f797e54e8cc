"""`studio up --detach`: the same command as a process in the background, and its outcome.

Imports little, since all the work is done by the other process.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from cli.stack.failures import StartFailed
from cli.stack.logs import tail
from cli.stack.screen import Screen, open_screen
from cli.stack.settings import own_environment, stack_settings
from cli.stack.state import DataFolder, StackState

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
