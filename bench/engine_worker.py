"""The worker process of the engine's benchmark: our workflow and, beside it, the same ten calls written by hand."""

import asyncio
import signal
import sys
from pathlib import Path

import uvloop
from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker

from activities.settings import WorkerSettings
from activities.worker import build_worker
from bench.hand_written import HandWritten, noop
from studio.contracts.activities import CompletionRequest, CompletionResult, RecordEndRequest
from studio.contracts.runs import RunUsage
from studio.db.engine import open_database
from studio.db.migrate import migrate_database
from studio.heap import settle_heap
from studio.temporal import connect_temporal

FLOOR_QUEUE = "floor"
OURS_QUEUE = "ours"
SECRET_KEY = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="  # noqa: S105 - encrypts nothing but the benchmark's no-ops


@activity.defn(name="complete_chat")
async def complete_chat(request: CompletionRequest) -> CompletionResult:
    """A model call that costs nothing: what is left is the engine."""
    return CompletionResult(length=request.length + 1, text="ok", attempt=1, usage=RunUsage())


@activity.defn(name="record_end")
async def record_end(_request: RecordEndRequest) -> None:
    """The engine writes no row here, as the workflow written by hand writes none."""


def settings(address: str, folder: Path) -> WorkerSettings:
    values = {"temporal_address": address, "temporal_task_queue": OURS_QUEUE, "data_dir": folder}
    return WorkerSettings.model_validate(
        values | {"secret_keys": [SECRET_KEY], "redis_url": "redis://127.0.0.1:1", "prompt_url": "http://127.0.0.1:1"}
    )


async def main(address: str, folder: Path) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    ours = settings(address, folder)
    database = open_database(ours)
    await migrate_database(database)
    floor = Worker(
        await Client.connect(address),
        task_queue=FLOOR_QUEUE,
        workflows=[HandWritten],
        activities=[noop],
        max_cached_workflows=ours.worker_max_cached_runs,
    )
    worker = build_worker(await connect_temporal(ours, database, lazy=False), ours, [complete_chat, record_end])
    async with floor, worker:
        settle_heap()
        print("ready", flush=True)
        await stop.wait()
    await database.close()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], Path(sys.argv[2])))
