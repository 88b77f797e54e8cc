"""`python -m activities`: run a worker until SIGTERM or SIGINT."""

import asyncio
import signal
import sys

import structlog
import uvloop

from activities.maintenance import schedule_maintenance
from activities.readiness import wait_until_ready
from activities.settings import WorkerSettings
from activities.worker import open_worker
from studio.errors import SettingsError
from studio.heap import settle_heap
from studio.leaving import leave
from studio.settings import load_settings
from studio.telemetry import configure_logging

_log = structlog.get_logger(__name__)


async def run(settings: WorkerSettings) -> None:
    stop = asyncio.Event()

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():  # asked a second time: at once, then
            leave(128 + number)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    if not await wait_until_ready(settings, stop):
        return
    async with open_worker(settings) as worker:
        _log.info("worker.started", task_queue=settings.temporal_task_queue, build_id=settings.worker_build_id)
        await schedule_maintenance(worker.client, settings.temporal_task_queue)
        settle_heap()
        async with worker:
            await stop.wait()
            _log.info("worker.stopping", drain_seconds=settings.worker_drain_seconds)
        _log.info("worker.stopped")


def main() -> None:
    try:
        settings = load_settings(WorkerSettings)
        configure_logging("worker", settings)
        uvloop.run(run(settings))
    except SettingsError as error:
        print(error.detail, file=sys.stderr)  # noqa: T201 - logging may not be configured yet
        sys.exit(2)
    leave(0)


if __name__ == "__main__":
    main()
