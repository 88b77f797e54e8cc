"""The API as a process of its own."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp

from api.settings import ApiSettings

READY_SECONDS = 60


@asynccontextmanager
async def api_process(settings: ApiSettings, port: int) -> AsyncGenerator[str]:
    """Its address; at the end it is killed."""
    values = settings.model_dump(exclude={"secret_keys", "allowed_hosts", "port"}, exclude_none=True)
    values["secret_keys"] = ",".join(key.get_secret_value() for key in settings.secret_keys)
    env = {f"STUDIO_{name.upper()}": str(value) for name, value in values.items()}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "api",
        env={**os.environ, **env, "STUDIO_PORT": str(port)},  # noqa: TID251 - a child needs its parent's PATH
        stderr=asyncio.subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        async with aiohttp.ClientSession(url) as http, asyncio.timeout(READY_SECONDS):
            while not await _is_live(http):
                assert process.returncode is None
                await asyncio.sleep(0.02)
        yield url
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _is_live(http: aiohttp.ClientSession) -> bool:
    try:
        async with http.get("/health/live") as answer:
            return answer.status == 200
    except aiohttp.ClientConnectionError:
        return False
