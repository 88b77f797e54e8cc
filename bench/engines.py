"""The engine and, beside it, the workflow written by hand: one worker process for both, on the embedded stack's server
with its flags and a file database; ours with payload encryption, progress and the run's end, as in production, but with
a model and a store that cost nothing.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHandle

from bench.engine_worker import FLOOR_QUEUE, OURS_QUEUE, settings
from bench.hand_written import Calls, HandWritten
from bench.harness import ROOT, free_port, server
from cli.stack import parts
from studio.contracts.definitions import ResolvedDefinition
from studio.contracts.ids import IdPrefix, new_id, new_span_id, new_trace_id
from studio.contracts.runs import RunContext, RunRequest
from studio.db.engine import open_database
from studio.temporal import connect_temporal
from workflows.patterns import SequentialWorkflow

FLOOR = "workflow written by hand"
Start = Callable[[], Awaitable[WorkflowHandle[Any, Any]]]
FoundT = TypeVar("FoundT")


@dataclass(frozen=True)
class Engines:
    _ours: Client
    _plain: Client
    _worker: psutil.Process

    def ours(self, definition: ResolvedDefinition) -> Start:
        async def start() -> WorkflowHandle[Any, Any]:
            run_id = new_id(IdPrefix.RUN)
            context = RunContext(
                run_id=run_id, project_id="default", workflow_name="bench", workflow_version=1, trace_id=new_trace_id()
            )
            arguments = [RunRequest(context=context, root_span_id=new_span_id()), definition, None]
            run = SequentialWorkflow.run
            return await self._ours.start_workflow(run, args=arguments, id=run_id, task_queue=OURS_QUEUE)

        return start

    def floor(self, calls: Calls) -> Start:
        async def start() -> WorkflowHandle[Any, Any]:
            run_id = new_id(IdPrefix.RUN)
            return await self._plain.start_workflow(HandWritten.run, calls, id=run_id, task_queue=FLOOR_QUEUE)

        return start

    def worker_seconds(self) -> float:
        """The CPU time that the worker has used."""
        used = self._worker.cpu_times()
        return used.user + used.system


def with_engines(measure: Callable[[Engines], Awaitable[FoundT]]) -> FoundT:
    with tempfile.TemporaryDirectory(prefix="bench-engine-") as folder:
        data = Path(folder)
        temporal = parts.temporal(free_port(), None, data / "temporal.db")
        with server(temporal):
            command = [sys.executable, "-m", "bench.engine_worker", temporal.address, folder]
            with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as worker:  # noqa: S603 - our own module
                try:
                    if worker.stdout is None or not worker.stdout.readline():
                        raise RuntimeError("the worker did not start")
                    return asyncio.run(_measure(measure, temporal.address, data, worker.pid))
                finally:
                    worker.terminate()


async def _measure(measure: Callable[[Engines], Awaitable[FoundT]], address: str, data: Path, worker: int) -> FoundT:
    own = settings(address, data)
    database = open_database(own)
    try:
        engines = Engines(await connect_temporal(own, database), await Client.connect(address), psutil.Process(worker))
        for start in (engines.floor(Calls(10)), engines.floor(Calls(10, at_once=10))):  # connections and imports
            await together(start, 5)
        return await measure(engines)
    finally:
        await database.close()


async def together(start: Start, count: int = 1) -> float:
    """Seconds until `count` runs that were started at once have ended."""

    async def run() -> None:
        await (await start()).result()

    began = time.perf_counter()
    await asyncio.gather(*(run() for _ in range(count)))
    return time.perf_counter() - began


async def history(start: Start) -> list[HistoryEvent]:
    """Of a run that has ended."""
    handle = await start()
    await handle.result()
    return list((await handle.fetch_history()).events)
