"""The `studio` command, called as a function or started as a process."""

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from cli.main import app
from tests.cli.support.proxy import Proxy
from tests.support.scripted_upstream import ScriptedUpstream
from tests.support.services import RunningApi


@dataclass(frozen=True)
class Finished:
    code: int
    out: str
    err: str

    def ok(self) -> "Finished":
        assert self.code == 0, self
        return self

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Studio:
    """Runs in `folder`, against the API at `url`: `await studio("runs")`. One call at a time."""

    folder: Path
    url: str

    async def __call__(self, *arguments: str, given: str = "", url: str | None = None) -> Finished:
        """Run it to its end, in this process; `given` is its standard input."""
        return await asyncio.to_thread(self._invoke, arguments, given, url or self.url)

    def _invoke(self, arguments: tuple[str, ...], given: str, url: str) -> Finished:
        with contextlib.chdir(self.folder):
            result = CliRunner().invoke(app, arguments, input=given, env=_settings(self.folder, url))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Finished(result.exit_code, result.stdout, result.stderr)

    async def start(self, *arguments: str, url: str | None = None, stdout: int = PIPE) -> Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "cli.main", *arguments),
            env=self.environment(url or self.url),
            cwd=self.folder,
            stdin=PIPE,
            stdout=stdout,
            stderr=PIPE,
        )

    def environment(self, url: str) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()  # noqa: TID251 - a child's environment
            if not name.startswith(("STUDIO_", "TERM", "FORCE_COLOR", "NO_COLOR", "COLUMNS"))
        }
        return kept | _settings(self.folder, url) | {"PYTHONPATH": str(Path(__file__).parents[3])}

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path


def _settings(folder: Path, url: str) -> dict[str, str]:
    ours = {"STUDIO_API_URL": url, "STUDIO_PROMPT_URL": url, "STUDIO_DATA_DIR": str(folder / ".studio")}
    return ours | {"TERM": "xterm-256color", "NO_COLOR": "1"}


@dataclass(frozen=True)
class Platform:
    studio: Studio
    api: RunningApi
    upstream: ScriptedUpstream
    proxy: Proxy
    """Between the command and the API."""


async def line_with(process: Process, text: str) -> list[str]:
    """Read the command's output up to the line that holds `text`; the lines so far."""
    assert process.stdout is not None
    lines: list[str] = []
    while line := await process.stdout.readline():
        lines.append(line.decode().rstrip("\n"))
        if text in lines[-1]:
            return lines
    assert process.stderr is not None
    raise AssertionError(f"the command ended without {text!r}: {lines} {await process.stderr.read()!r}")
