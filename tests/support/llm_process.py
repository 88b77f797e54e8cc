"""The LLM engine as a process of its own, with the log that it writes in production."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.ports import free_port

START_SECONDS = 60


@dataclass(frozen=True)
class LlmProcess:
    url: str
    log: Path
    process: asyncio.subprocess.Process


@asynccontextmanager
async def llm_process(folder: Path, upstreams: list[dict[str, Any]], **settings: str) -> AsyncGenerator[LlmProcess]:
    """`settings` are environment variables without their prefix. It must still run at the end, and is stopped then."""
    port = free_port()
    log = folder / "llm.log"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("STUDIO_")}  # noqa: TID251
    own = {
        "PORT": str(port),
        "UPSTREAMS": json.dumps(upstreams),
        "MODEL_ALIASES": "{}",
        "LOG_FORMAT": "json",
        **settings,
    }
    environment = inherited | {f"STUDIO_{name}": value for name, value in own.items()}
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "llm_service", env=environment, stderr=stderr, stdout=stderr
        )
    url = f"http://127.0.0.1:{port}"
    try:
        await _answers(url, process, log)
        yield LlmProcess(url, log, process)
    finally:
        if process.returncode is None:
            process.terminate()
        code = await process.wait()
    assert code in {0, -signal.SIGTERM}, _end_of(log)


def _end_of(log: Path) -> str:
    return log.read_text()[-4_000:]


async def _answers(url: str, process: asyncio.subprocess.Process, log: Path) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(START_SECONDS):
        while True:
            assert process.returncode is None, _end_of(log)
            try:
                async with session.get(url + "/health/live"):
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)
