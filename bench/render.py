"""A stored prompt, rendered from the cache over HTTP, against a bare FastAPI endpoint with one Redis GET."""

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import orjson

from bench.harness import ROOT, Measurement, free_port, median, process, server
from cli.stack import parts
from prompt_service.migrations import migrate
from prompt_service.settings import PromptSettings
from studio.clients.prompts import PromptClient
from studio.contracts.prompts import PromptDocument
from studio.settings import load_settings

ROUNDS = 5
SECONDS = 1.5
CONCURRENCIES = (1, 16)
FLOOR = "bare FastAPI + Redis GET"
_PARAGRAPH = (
    "You help {{ company }}'s customers. Answer in {{ language }}, and never promise what is not in the notes. "
)
_TEMPLATE = "You are {{ name }}.\n" + _PARAGRAPH * 22 + "\nQuestion: {{ question }}"
_VARIABLES = {"name": "Ada", "company": "Acme", "language": "English", "question": "Where is my parcel?"}


def measure() -> list[Measurement]:
    with tempfile.TemporaryDirectory(prefix="bench-render-") as folder:
        return _measure(Path(folder))


def _measure(folder: Path) -> list[Measurement]:
    mongo, redis = parts.mongo(free_port(), None), parts.redis(free_port(), None)
    ours, bare = free_port(), free_port()
    env = {
        "STUDIO_MONGO_URL": mongo.address,
        "STUDIO_REDIS_URL": redis.address,
        "STUDIO_CLICKHOUSE_URL": f"chdb://{folder / 'traces'}",
        "STUDIO_PORT": str(ours),
        "STUDIO_LOG_LEVEL": "warning",
    }
    settings = load_settings(
        PromptSettings, mongo_url=mongo.address, redis_url=redis.address, clickhouse_url=env["STUDIO_CLICKHOUSE_URL"]
    )
    with server(mongo), server(redis):
        asyncio.run(migrate(settings))
        with (
            process("-m", "bench.bare_redis", str(bare), redis.address, ready=f"http://127.0.0.1:{bare}/ready"),
            process("-m", "prompt_service", env=env, ready=f"http://127.0.0.1:{ours}/health/ready"),
        ):
            asyncio.run(_store(f"http://127.0.0.1:{ours}"))
            targets = {"ours": (ours, "/api/v1/prompts/bench/render"), "bare": (bare, "/bare")}
            return [row for concurrency in CONCURRENCIES for row in _rows(targets, concurrency)]


async def _store(url: str) -> None:
    async with PromptClient(url) as client:
        await client.apply([PromptDocument(name="bench", template=_TEMPLATE)])
        rendered = await client.render("bench", _VARIABLES)
    if len(rendered.text or "") < 2000:
        raise RuntimeError(f"the prompt rendered to {rendered.text!r}")


def _rows(targets: dict[str, tuple[int, str]], concurrency: int) -> list[Measurement]:
    found: dict[str, list[dict[str, float]]] = {name: [] for name in targets}
    for _ in range(ROUNDS):  # in turns, so that a busy moment of the machine meets both
        for name, (port, path) in targets.items():
            found[name].append(_load(port, concurrency, path))
    ours = {figure: median([one[figure] for one in found["ours"]]) for figure in found["ours"][0]}
    bare = {figure: median([one[figure] for one in found["bare"]]) for figure in found["bare"][0]}
    is_goal = concurrency == 16
    return [
        Measurement(
            f"hot render, c={concurrency}",
            "req/s",
            ours["per_second"],
            bare["per_second"],
            FLOOR,
            "higher",
            "ratio at least 0.8" if is_goal else "",
            ours["per_second"] / bare["per_second"] >= 0.8 if is_goal else None,
        ),
        Measurement(f"hot render p50, c={concurrency}", "ms", ours["p50_ms"], bare["p50_ms"], FLOOR, "lower"),
        Measurement(
            f"hot render p99, c={concurrency}",
            "ms",
            ours["p99_ms"],
            bare["p99_ms"],
            FLOOR,
            "lower",
            "at most 4 ms" if is_goal else "",
            ours["p99_ms"] <= 4 if is_goal else None,
        ),
    ]


def _load(port: int, concurrency: int, path: str) -> dict[str, Any]:
    body = orjson.dumps({"variables": _VARIABLES}).decode()
    command = [sys.executable, "-m", "bench.load", str(port), str(concurrency), str(SECONDS), body, path]
    printed = subprocess.run(  # noqa: S603 - our own module
        command, cwd=ROOT, check=True, capture_output=True, timeout=60
    ).stdout
    return orjson.loads(printed)
