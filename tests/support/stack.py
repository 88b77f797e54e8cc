"""The `studio` command as a process, on a data folder and ports of its own."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from cli.stack.ports import DEFAULT_PORTS
from tests.support.ports import free_ports

WAIT_SECONDS = 30.0


def free_port_base() -> int:
    """A base from which all ports of a stack are free."""
    return free_ports(len(DEFAULT_PORTS))


@dataclass
class StudioCommand:
    data: Path
    port_base: int = field(default_factory=free_port_base)
    env: Mapping[str, str] = field(default_factory=dict[str, str])

    def run(self, *arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(*arguments),
            env=self.environment(**env),
            cwd=self.data.parent,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    def start(self, *arguments: str, **env: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.command(*arguments),
            env=self.environment(**env),
            cwd=self.data.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def up(self, *parts: str, **env: str) -> "subprocess.CompletedProcess[str]":
        return self.run("up", "--detach", *self.where(), *_only(parts), **env)

    def where(self) -> list[str]:
        return ["--data", str(self.data), "--port-base", str(self.port_base)]

    def status(self) -> dict[str, dict[str, Any]]:
        """Part name to what `status --json` says of it."""
        answer = self.run("status", "--json", "--data", str(self.data))
        return {part["name"]: part for part in json.loads(answer.stdout)["parts"]}

    def down(self) -> "subprocess.CompletedProcess[str]":
        return self.run("down", "--data", str(self.data))

    def log(self, part: str = "stack") -> str:
        return (self.data / "logs" / f"{part}.log").read_text()

    def processes(self) -> list[psutil.Process]:
        """What runs with this data folder on its command line."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return any(str(self.data) in argument for argument in process.cmdline())
        except psutil.Error:  # it has ended meanwhile
            return False

    @staticmethod
    def command(*arguments: str) -> list[str]:
        return [sys.executable, "-P", "-m", "cli.main", *arguments]

    def environment(self, **more: str) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("STUDIO_")}  # noqa: TID251
        return {**inherited, **self.env, **more}


@contextmanager
def studio_command(folder: Path) -> Generator[StudioCommand]:
    """The command on a data folder of its own; what it left running is stopped at the end."""
    command = StudioCommand(folder / "data")
    yield command
    if command.processes():
        command.down()
    for process in command.processes():
        process.kill()


def until(condition: Callable[[], bool], what: str) -> None:
    """Ask every tenth of a second until it holds; fails after half a minute."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"did not happen in {WAIT_SECONDS:g} s: {what}"
        time.sleep(0.1)


def only(*parts: str) -> list[str]:
    return _only(parts)


def _only(parts: tuple[str, ...]) -> list[str]:
    return [argument for part in parts for argument in ("--only", part)]
