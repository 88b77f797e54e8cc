"""Schemas that explode at every door where one is stored or checked, against the same requests with the schema `{}`.

Of each door: the worst of all the schemas, and the worst that somebody else waits meanwhile. Of each service: what it
holds afterwards. The whole table goes to stderr, in seconds: until the answer, CPU of the service, the longest
that somebody else waited.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import orjson
import psutil
from aiohttp import web

from bench.harness import ROOT, Measurement, free_port
from bench.schema_doors import DOORS, OTHER, Site
from cli.stack.ports import DEFAULT_PORTS
from tests.field.schemas.explosive import EXPLOSIVE
from tests.support.ports import free_ports

PARTS = ("temporal", "redis", "mongo", "api", "worker", "prompts")
FLOOR = "with the schema {}"
MAX_KEPT = 20


def measure() -> list[Measurement]:
    with tempfile.TemporaryDirectory(prefix="bench-schemas-") as folder:
        return asyncio.run(_with_stack(Path(folder)))


async def _with_stack(folder: Path) -> list[Measurement]:
    base, port = free_ports(len(DEFAULT_PORTS)), free_port()
    site = Site(aiohttp.ClientSession(), {})
    model = web.AppRunner(_model(site))
    await model.setup()
    await web.TCPSite(model, "127.0.0.1", port).start()
    env = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}  # noqa: TID251 - handed on
    env["STUDIO_LLM_URL"] = f"http://127.0.0.1:{port}"
    where = ("--data", str(folder / "data"))

    def studio(*arguments: str) -> bytes:
        command = [sys.executable, "-P", "-m", "cli.main", *arguments, *where]
        return subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE).stdout  # noqa: S603

    only = [argument for part in PARTS for argument in ("--only", part)]
    await asyncio.to_thread(studio, "up", "--detach", "--port-base", str(base), *only)
    try:
        parts = {part["name"]: part for part in orjson.loads(studio("status", "--json"))["parts"]}
        site.urls |= {name: f"{parts[name]['address']}/api/v1" for name in ("api", "prompts")}
        processes = {name: psutil.Process(parts[name]["pid"]) for name in ("api", "worker", "prompts")}
        await site.send("/agents", {"name": "asked", "model": "m", "message": "x"})
        await site.store({"id": "a", "transform": 1})  # `OTHER`
        return await _rounds(site, processes)
    finally:
        await asyncio.to_thread(studio, "down")
        await model.cleanup()
        await site.http.close()


def _model(site: Site) -> web.Application:
    async def complete(_: web.Request) -> web.Response:
        delta = {"choices": [{"index": 0, "delta": {"content": site.answer}, "finish_reason": "stop"}]}
        return web.Response(
            body=b"data: " + orjson.dumps(delta) + b"\n\ndata: [DONE]\n\n", content_type="text/event-stream"
        )

    app = web.Application()
    app.router.add_post("/v1/chat/completions", complete)
    return app


@dataclass
class Worst:
    """Of all schemas at one door, in milliseconds."""

    took: float = 0
    waited: float = 0


async def _rounds(site: Site, processes: dict[str, psutil.Process]) -> list[Measurement]:
    floor = {name: await _worst(site, name, processes, trivial=True) for name in DOORS}
    before = {name: process.memory_info().rss / 2**20 for name, process in processes.items()}
    ours = {name: await _worst(site, name, processes, trivial=False) for name in DOORS}
    rows = [row for name in DOORS for row in _rows(name, ours[name], floor[name])]
    for name, process in processes.items():
        held, goal = process.memory_info().rss / 2**20, f"at most {MAX_KEPT} MiB more"
        kept = held - before[name]
        rows.append(Measurement(f"memory of {name}", "MiB", held, before[name], FLOOR, "lower", goal, kept <= MAX_KEPT))
    return rows


def _rows(name: str, ours: Worst, floor: Worst) -> list[Measurement]:
    is_fast, is_free = ours.took - floor.took < 1000, ours.waited - floor.waited < 100
    return [
        Measurement(name, "ms", ours.took, floor.took, FLOOR, "lower", "at most 1,000 ms more", is_fast),
        Measurement(f"{name}: others", "ms", ours.waited, floor.waited, FLOOR, "lower", "at most 100 ms more", is_free),
    ]


async def _worst(site: Site, name: str, processes: dict[str, psutil.Process], *, trivial: bool) -> Worst:
    service, door = DOORS[name]
    worst = Worst()
    for case in EXPLOSIVE:
        site.took, site.longest, before = 0, 0, _cpu(processes[service])
        others = asyncio.create_task(_others(site, service))
        await door(site, {} if trivial else case.schema, case.value)
        others.cancel()
        await asyncio.wait([others])
        figures = [f"{figure:.3f}" for figure in (site.took, _cpu(processes[service]) - before, site.longest)]
        print(name, case.name, FLOOR if trivial else "", *figures, sep="\t", file=sys.stderr)
        worst = Worst(max(worst.took, site.took * 1e3), max(worst.waited, site.longest * 1e3))
    return worst


def _cpu(process: psutil.Process) -> float:
    used = process.cpu_times()
    return used.user + used.system


async def _others(site: Site, service: str) -> None:
    """Somebody else: asks for a list, or runs a workflow of the worker, again and again."""
    while True:
        began = time.perf_counter()
        try:
            if service == "worker":
                await site.run(OTHER, 1)
            else:
                await site.send("/workflows?limit=1" if service == "api" else "/prompts?limit=1", service=service)
        finally:
            site.longest = max(site.longest, time.perf_counter() - began)
