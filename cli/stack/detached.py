"""`studio up --detach`: the same command as a process in the background, and its outcome.

Imports little, since all the work is done by the other process.
"""

import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from cli.stack.environment import own_environment
from cli.stack.failures import StartFailed
from cli.stack.logs import tail
from cli.stack.screen import Screen, open_screen
from cli.stack.settings import stack_settings
from cli.stack.state import DataFolder, StackState

PROGRESS_SECONDS = 60.0
"""So long nothing may become ready before we stop waiting."""
_FIRST_SECONDS = 60.0
"""The same before the command in the background has written anything."""
_POLL_SECONDS = 0.1
_ERROR = re.compile("^error: ", re.MULTILINE)
"""What `cli.remote.fail` begins with."""


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
    """Start the stack in the background and return once everything is ready.

    Raises what `up` raises, and `StartFailed` when nothing has become ready for a minute; the stack goes on then.
    """
    folder = DataFolder(stack_settings(options.data).data_dir.resolve())
    warning = folder.make()
    if warning:
        console.print(warning, markup=False, highlight=False, soft_wrap=True)
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
    ready: list[str] | None = None
    progress = time.monotonic()
    while True:
        code = child.poll()
        if code is not None:
            raise StartFailed(_end_of(folder.log("stack")), exit_code=code if code > 0 else 1)
        state = folder.last_state()
        if state and state.pid == child.pid:
            screen.show(state)
            if state.ready:
                return state
            now_ready = [part.name for part in state.parts if part.ready]
            if now_ready != ready:
                ready, progress = now_ready, time.monotonic()
        if time.monotonic() > progress + (_FIRST_SECONDS if ready is None else PROGRESS_SECONDS):
            raise StartFailed(_not_ready(state))
        time.sleep(_POLL_SECONDS)


def _not_ready(state: StackState | None) -> str:
    waiting = [part for part in state.parts if not part.ready] if state else []
    named = ", ".join(f"{part.name} ({part.detail})" if part.detail else part.name for part in waiting)
    first = f"`studio logs {waiting[0].name}`" if waiting else "`studio logs stack`"
    return (
        f"Not ready, and nothing has changed for {PROGRESS_SECONDS:g} s: {named or 'the migrations'}. The stack "
        f"continues to start in the background: {first} says why, `studio status` shows it, `studio down` stops it."
    )


def _end_of(log: Path) -> str:
    """The error that the command in the background ended with, else the last that it wrote.

    Raises `OSError` when nothing can be written there, so that it could not say anything.
    """
    text = tail(log, 40)
    found = _ERROR.search(text)
    said = (text[found.end() :] if found else text).strip()
    if not said:
        _write_something(log)
    return said or "It ended without a word."


def _write_something(log: Path) -> None:
    try:
        with log.open("ab") as output:
            output.write(b"\n" * 4096)
    except OSError as error:
        error.filename = error.filename or str(log)
        raise
