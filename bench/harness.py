"""What every benchmark shares: measurements beside their floor, the conditions, processes, and the report."""

import asyncio
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from cli.stack.parts import Part
from cli.stack.probes import NotReady, ask

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 90
PACKAGES = ("aiohttp", "fastapi", "orjson", "pydantic", "redis", "starlette", "temporalio", "uvicorn", "uvloop")


@dataclass(frozen=True)
class Measurement:
    """One figure of ours beside the same figure of the floor, measured in the same run."""

    name: str
    unit: str
    ours: float
    floor: float
    floor_name: str
    better: Literal["higher", "lower"]
    goal: str = ""
    """What we want it to be, in words with its number."""
    reached: bool | None = None

    @property
    def ratio(self) -> float:
        """Ours over the floor's."""
        return self.ours / self.floor if self.floor else float("nan")


def conditions() -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cores": os.cpu_count(),
        "machine": f"{platform.system()} {platform.machine()}",
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def percentile(values: Sequence[float], percent: float) -> float:
    """Nearest rank; `values` need no order."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def process(*arguments: str, env: Mapping[str, str] | None = None, ready: str | None = None) -> Generator[None]:
    """`python ARGUMENTS` in the checkout until the block is left; with `ready`, waits until that URL answers 200."""
    base = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}  # noqa: TID251 - handed on
    with subprocess.Popen(  # noqa: S603 - our own modules
        [sys.executable, *arguments], cwd=ROOT, env={**base, **(env or {})}
    ) as running:
        try:
            if ready is not None:
                _wait_until(ready, running)
            yield
        finally:
            running.terminate()


@contextmanager
def server(part: Part) -> Generator[None]:
    """A part of the embedded stack until the block is left."""
    with subprocess.Popen(  # noqa: S603 - a command of ours
        part.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as running:
        try:
            asyncio.run(_ready(part, running.pid))
            yield
        finally:
            running.terminate()


async def _ready(part: Part, pid: int) -> None:
    async with asyncio.timeout(START_SECONDS):
        while True:
            try:
                await ask(part.probe, pid)
            except NotReady:
                await asyncio.sleep(0.05)
            else:
                return


def _wait_until(url: str, running: subprocess.Popen[bytes], seconds: float = START_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if running.poll() is not None:
            raise RuntimeError(f"{running.args!r} ended with {running.returncode} before it was ready")
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - a loopback URL of ours
                if answer.status == 200:
                    return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.05)
    raise RuntimeError(f"{url} was not ready after {seconds:g} s")


def as_json(found: Mapping[str, Sequence[Measurement]], about: Mapping[str, Any]) -> dict[str, Any]:
    benches = {name: [asdict(one) | {"ratio": one.ratio} for one in rows] for name, rows in found.items()}
    return {"conditions": about, "benchmarks": benches}


def as_markdown(found: Mapping[str, Sequence[Measurement]], about: Mapping[str, Any]) -> str:
    packages = ", ".join(f"{name} {number}" for name, number in about["packages"].items())
    machine = f"{about['cores']} cores ({about['machine']}, load {about['load_before']} before)"
    lines = [f"Measured {about['date']} on {machine}, Python {about['python']}; {packages}."]
    for name, rows in found.items():
        lines += ["", f"### {name}", "", "| what | ours | floor | ratio | goal |", "| --- | --- | --- | --- | --- |"]
        for row in rows:
            verdict = {True: " ✓", False: " ✗", None: ""}[row.reached]
            floor = f"{_figure(row.floor)} ({row.floor_name})"
            lines.append(
                f"| {row.name} | {_figure(row.ours)} {row.unit} | {floor} | {row.ratio:.2f} | {row.goal}{verdict} |"
            )
    return "\n".join(lines) + "\n"


def _figure(value: float) -> str:
    """Whole numbers, but for small ones, which keep three digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
