"""Live events: a thousand readers of one run, and fifty runs that stream tokens at once, each with a reader.

The floor is one bare process with one Redis reader, which writes what it reads to everybody and does nothing else.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import orjson
import psutil

from bench.engine_worker import SECRET_KEY
from bench.harness import ROOT, Measurement, free_port, process, server
from bench.timed_upstream import RATE, TOKENS
from cli.stack import parts
from studio.contracts.base import utc_now
from studio.contracts.events import NewEvent
from studio.contracts.ids import IdPrefix, new_id, new_trace_id
from studio.db.engine import Database
from studio.db.migrate import migrate_database
from studio.db.tables import RunRow
from studio.store.event_stream import EventStream

FLOOR = "bare fan-out"
READERS = 1000
RUNS = 50
SLOW_RATE = 10.0
"""Tokens a second of the run with many readers."""
Publish = Callable[[EventStream], Awaitable[None]]
WORKFLOW = {
    "name": "bench",
    "pattern": "sequential",
    "steps": [{"id": "ask", "agent": {"message": "Say when.", "model": "bench/m"}}],
}


@dataclass(frozen=True)
class Delays:
    p50_ms: float
    p99_ms: float
    tokens: int
    cpu_us: float
    """Of the server, for each token that a reader got."""
    kib: float
    """Of the server's memory, for each reader."""


def measure() -> list[Measurement]:
    with tempfile.TemporaryDirectory(prefix="bench-streams-") as folder, _stack(Path(folder)) as stack:
        return asyncio.run(stack.measure())


@contextmanager
def _stack(folder: Path) -> Generator["_Stack"]:
    redis = parts.redis(free_port(), None)
    temporal = parts.temporal(free_port(), None, folder / "temporal.db")
    api, llm, upstream, bare = free_port(), free_port(), free_port(), free_port()
    env = {
        "STUDIO_DATA_DIR": str(folder),
        "STUDIO_REDIS_URL": redis.address,
        "STUDIO_TEMPORAL_ADDRESS": temporal.address,
        "STUDIO_SECRET_KEYS": SECRET_KEY,
        "STUDIO_LLM_URL": f"http://127.0.0.1:{llm}",
        "STUDIO_PROMPT_URL": f"http://127.0.0.1:{upstream}",
        "STUDIO_UPSTREAMS": orjson.dumps([{"name": "bench", "base_url": f"http://127.0.0.1:{upstream}/v1"}]).decode(),
        "STUDIO_LOG_LEVEL": "error",
    }
    database = f"sqlite+aiosqlite:///{folder / 'studio.db'}"
    asyncio.run(_migrate(database))
    with (
        server(redis),
        server(temporal),
        process("-m", "bench.timed_upstream", str(upstream), ready=f"http://127.0.0.1:{upstream}/v1/models"),
        process(
            "-m", "llm_service", env={**env, "STUDIO_PORT": str(llm)}, ready=f"http://127.0.0.1:{llm}/health/ready"
        ),
        process("-m", "activities", env=env),
        process("-m", "bench.bare_fanout", str(bare), redis.address),
        process("-m", "api", env={**env, "STUDIO_PORT": str(api)}, ready=f"http://127.0.0.1:{api}/health/ready"),
    ):
        yield _Stack(database, redis.address, api, bare)


async def _migrate(url: str) -> None:
    database = Database(url)
    await migrate_database(database)
    await database.close()


@dataclass(frozen=True)
class _Stack:
    database: str
    redis: str
    api: int
    bare: int

    async def measure(self) -> list[Measurement]:
        run_id = await self._row()
        ours = await self._watched(
            self.api, READERS, [f"/api/v1/runs/{run_id}/events"], self._tokens(SLOW_RATE, run_id)
        )
        run_id = await self._row()
        floor = await self._watched(self.bare, READERS, [f"/{run_id}"], self._tokens(SLOW_RATE, run_id))
        rows = _rows(f"{READERS:,} readers of one run", ours, floor, 50)
        rows += [
            Measurement(f"{READERS:,} readers, memory of a reader", "KiB", ours.kib, floor.kib, FLOOR, "lower"),
            Measurement(f"{READERS:,} readers, CPU for a token", "µs", ours.cpu_us, floor.cpu_us, FLOOR, "lower"),
        ]
        ours = await self._whole_runs(RUNS)
        floor = await self._floor_runs(RUNS)
        rows += _rows(f"{RUNS} runs, upstream to reader", ours, floor, 100)
        rows += _rows("one run, upstream to reader", await self._whole_runs(1), await self._floor_runs(1), 20)
        return rows

    async def _row(self) -> str:
        """A run that goes on, of which Temporal need not know."""
        run_id = new_id(IdPrefix.RUN)
        database = Database(self.database)
        async with database.write() as session:
            session.add(
                RunRow(
                    id=run_id,
                    kind="workflow",
                    project_id="default",
                    definition_id="wf_bench",
                    definition_name="bench",
                    definition_version=1,
                    pattern="sequential",
                    status="running",
                    run_metadata={},
                    trace_id=new_trace_id(),
                    created_at=utc_now(),
                    started_at=utc_now(),
                )
            )
        await database.close()
        return run_id

    async def _whole_runs(self, count: int) -> Delays:
        """Through Temporal, the worker and the LLM engine. Readers come when the runs have begun, and miss nothing."""
        async with aiohttp.ClientSession(f"http://127.0.0.1:{self.api}") as http:
            await http.post("/api/v1/workflows", json=WORKFLOW)

            async def start() -> str:
                async with http.post("/api/v1/workflows/bench/runs", json={}) as answer:
                    return (await answer.json())["id"]

            runs = await asyncio.gather(*(start() for _ in range(count)))

        async def nothing(_stream: EventStream) -> None:
            return

        return await self._watched(self.api, count, [f"/api/v1/runs/{run_id}/events" for run_id in runs], nothing)

    async def _floor_runs(self, count: int) -> Delays:
        runs = [new_id(IdPrefix.RUN) for _ in range(count)]
        return await self._watched(self.bare, count, [f"/{run_id}" for run_id in runs], self._tokens(RATE, *runs))

    def _tokens(self, rate: float, *runs: str) -> Publish:
        async def publish(stream: EventStream, run_id: str, offset: float) -> None:
            await asyncio.sleep(offset)
            began = time.monotonic()
            for number in range(TOKENS):
                await asyncio.sleep(max(began + number / rate - time.monotonic(), 0))
                data = {"text": f"{time.monotonic_ns()} ", "index": number}
                await stream.publish(run_id, [NewEvent(ts=utc_now(), step_id="ask", type="token", data=data)])
            await stream.publish(run_id, [NewEvent(ts=utc_now(), type="run.succeeded")])

        async def publish_all(stream: EventStream) -> None:
            await asyncio.gather(*(publish(stream, run_id, n / rate / len(runs)) for n, run_id in enumerate(runs)))

        return publish_all

    async def _watched(self, port: int, readers: int, paths: Sequence[str], publish: Publish) -> Delays:
        served = _process_on(port)
        before = served.memory_info().rss
        command = [sys.executable, "-m", "bench.stream_clients", str(port), str(readers), *paths]
        clients = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=subprocess.PIPE)
        if clients.stdout is None or await clients.stdout.readline() != b"ready\n":
            raise RuntimeError("the readers did not get through")
        kib = (served.memory_info().rss - before) / 1024 / readers
        used = served.cpu_times()
        async with EventStream(self.redis) as stream:
            await publish(stream)
        found = orjson.loads(await clients.stdout.read())
        await clients.wait()
        after = served.cpu_times()
        cpu = after.user + after.system - used.user - used.system
        return Delays(found["p50_ms"], found["p99_ms"], found["tokens"], cpu / found["tokens"] * 1e6, kib)


def _process_on(port: int) -> psutil.Process:
    for child in psutil.Process().children(recursive=True):
        if any(
            found.laddr.port == port and found.status == psutil.CONN_LISTEN for found in child.net_connections("tcp")
        ):
            return child
    raise RuntimeError(f"nobody listens on {port}")


def _rows(name: str, ours: Delays, floor: Delays, goal_ms: float) -> list[Measurement]:
    goal = f"at most {goal_ms:g} ms"
    return [
        Measurement(f"{name}, p50", "ms", ours.p50_ms, floor.p50_ms, FLOOR, "lower"),
        Measurement(f"{name}, p99", "ms", ours.p99_ms, floor.p99_ms, FLOOR, "lower", goal, ours.p99_ms <= goal_ms),
    ]
