"""`python -m activities`: run a worker until SIGTERM or SIGINT."""

import asyncio
import contextlib
import signal
import sys

import structlog
import uvloop

from activities.maintenance import schedule_maintenance
from activities.settings import WorkerSettings
from activities.worker import open_worker
from studio.errors import SettingsError
from studio.leaving import leave
from studio.settings import load_settings
from studio.telemetry import configure_logging

CONNECT_ATTEMPTS = 60
_log = structlog.get_logger(__name__)


async def run(settings: WorkerSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    attempt = 0
    while not stop.is_set():
        try:
            async with open_worker(settings) as worker:
                _log.info("worker.started", task_queue=settings.temporal_task_queue)
                await schedule_maintenance(worker.client, settings.temporal_task_queue)
                async with worker:
                    attempt = 0
                    await stop.wait()
                    _log.info("worker.stopping")
                _log.info("worker.stopped")
        except RuntimeError as error:  # what the SDK raises when the server cannot be reached
            attempt += 1
            if attempt == CONNECT_ATTEMPTS:
                raise
            _log.warning("worker.waiting_for_temporal", attempt=attempt, error=str(error).partition("\n")[0])
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(5.0, 0.2 * 2**attempt)):
                    await stop.wait()


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
