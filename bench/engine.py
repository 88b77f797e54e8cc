"""Ten no-op steps in sequence on Temporal, against ten activities called by a workflow written by hand.

Both run in one worker process, on the embedded stack's server with its flags and a file database; ours with payload
encryption, progress and the run's end, as in production, but with a model and a store that cost nothing.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowHandle

from bench.engine_worker import FLOOR_QUEUE, OURS_QUEUE, settings
from bench.hand_written import STEPS, HandWritten
from bench.harness import ROOT, Measurement, free_port, median, server
from cli.stack import parts
from studio.contracts.agents import AgentSpec
from studio.contracts.definitions import ResolvedAgent, ResolvedDefinition, parse_workflow
from studio.contracts.ids import IdPrefix, new_id, new_span_id, new_trace_id
from studio.contracts.runs import RunContext, RunRequest
from studio.db.engine import open_database
from studio.temporal import connect_temporal
from workflows.patterns import SequentialWorkflow

ROUNDS = 3
ALONE = 15
AT_ONCE = 100
FLOOR = "workflow written by hand"
_STEPS = [{"id": f"s{number}", "agent": "noop", "input": number} for number in range(STEPS)]
DEFINITION = ResolvedDefinition(
    workflow=parse_workflow({"name": "bench", "pattern": "sequential", "steps": _STEPS}),
    agents={"noop": ResolvedAgent(name="noop", version=1, spec=AgentSpec(message="x"))},
)
Start = Callable[[], Awaitable[WorkflowHandle[Any, Any]]]


def measure() -> list[Measurement]:
    with tempfile.TemporaryDirectory(prefix="bench-engine-") as folder:
        data = Path(folder)
        temporal = parts.temporal(free_port(), None, data / "temporal.db")
        with server(temporal):
            command = [sys.executable, "-m", "bench.engine_worker", temporal.address, folder]
            with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as worker:  # noqa: S603 - our own module
                try:
                    if worker.stdout is None or not worker.stdout.readline():
                        raise RuntimeError("the worker did not start")
                    return asyncio.run(_measure(temporal.address, data))
                finally:
                    worker.terminate()


async def _measure(address: str, data: Path) -> list[Measurement]:
    own = settings(address, data)
    database = open_database(own)
    try:
        ours, plain = await connect_temporal(own, database), await Client.connect(address)

        async def start_ours() -> WorkflowHandle[Any, Any]:
            run_id = new_id(IdPrefix.RUN)
            context = RunContext(
                run_id=run_id, project_id="default", workflow_name="bench", workflow_version=1, trace_id=new_trace_id()
            )
            request = RunRequest(context=context, root_span_id=new_span_id())
            arguments = [request, DEFINITION, None]
            return await ours.start_workflow(SequentialWorkflow.run, args=arguments, id=run_id, task_queue=OURS_QUEUE)

        async def start_floor() -> WorkflowHandle[Any, Any]:
            return await plain.start_workflow(HandWritten.run, 1, id=new_id(IdPrefix.RUN), task_queue=FLOOR_QUEUE)

        starts = {"ours": start_ours, "floor": start_floor}
        latency: dict[str, list[float]] = {name: [] for name in starts}
        throughput: dict[str, list[float]] = {name: [] for name in starts}
        for start in starts.values():
            await _together(start, 10)  # caches and connections
        for _ in range(ROUNDS):  # in turns, so that a busy moment of the machine meets both
            for name, start in starts.items():
                latency[name] += [await _together(start, 1) for _ in range(ALONE)]
                throughput[name].append(AT_ONCE / await _together(start, AT_ONCE))
        sizes = {name: await _history_bytes(start) for name, start in starts.items()}
    finally:
        await database.close()
    return _rows(latency, throughput, sizes)


async def _together(start: Start, count: int) -> float:
    """Seconds until `count` runs that were started at once have ended."""

    async def run() -> None:
        await (await start()).result()

    began = time.perf_counter()
    await asyncio.gather(*(run() for _ in range(count)))
    return time.perf_counter() - began


async def _history_bytes(start: Start) -> float:
    handle = await start()
    await handle.result()
    return float(sum(event.ByteSize() for event in (await handle.fetch_history()).events)) / STEPS


def _rows(
    latency: dict[str, list[float]], throughput: dict[str, list[float]], sizes: dict[str, float]
) -> list[Measurement]:
    fast = {name: median(values) for name, values in throughput.items()}
    alone = {name: median(values) * 1000 for name, values in latency.items()}
    return [
        Measurement(
            f"{STEPS} steps, {AT_ONCE} runs at once",
            "runs/s",
            fast["ours"],
            fast["floor"],
            FLOOR,
            "higher",
            "ratio at least 0.85",
            fast["ours"] >= 0.85 * fast["floor"],
        ),
        Measurement(
            f"{STEPS} steps, one run alone, p50",
            "ms",
            alone["ours"],
            alone["floor"],
            FLOOR,
            "lower",
            "ratio at most 1.15",
            alone["ours"] <= 1.15 * alone["floor"],
        ),
        Measurement(
            "history of a step",
            "bytes",
            sizes["ours"],
            sizes["floor"],
            FLOOR,
            "lower",
            "at most 950 bytes",
            sizes["ours"] <= 950,
        ),
    ]
