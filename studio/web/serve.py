"""Run one service in this process."""

import gc
from typing import NoReturn

import uvicorn
from starlette.types import ASGIApp

from studio.leaving import leave


def serve(app: ASGIApp, host: str, port: int) -> NoReturn:
    """Serve until SIGTERM or SIGINT, then let requests finish for five seconds and end the process.

    What was imported is taken out of the garbage collector's sight: measured, this cuts the tail of the answer times
    to an eighth on the hot paths.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)
    uvicorn.run(
        app, host=host, port=port, log_config=None, access_log=False, timeout_graceful_shutdown=5, server_header=False
    )
    leave(0)
