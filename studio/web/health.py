"""`/health/live`, `/health/ready` and `/metrics`, alike in all services."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog
from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from studio.errors import StudioError
from studio.web.responses import JSONResponse

Check = Callable[[], Awaitable[object]]
"""Asks one dependency; raises when it does not answer."""

CHECK_TIMEOUT_SECONDS = 3.0
_log = structlog.get_logger(__name__)


async def _probe(name: str, check: Check) -> dict[str, object]:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            await check()
    except Exception as error:  # noqa: BLE001 - whatever fails, the dependency is not ready
        _log.warning("health.not_ready", dependency=name, error=str(error))
        detail = error.detail if isinstance(error, StudioError) else f"{name} does not answer ({type(error).__name__})"
        return {"name": name, "ready": False, "detail": detail}
    return {"name": name, "ready": True, "detail": None}


def health_router(service: str, checks: Callable[[], Mapping[str, Check]]) -> APIRouter:
    """`checks` is called for each request, so that it may reach what the lifespan opened."""
    router = APIRouter(tags=["health"])

    @router.get("/health/live")
    async def live() -> dict[str, str]:
        return {"status": "live", "service": service}

    @router.get("/health/ready", responses={503: {"description": "A dependency does not answer; the body names it"}})
    async def ready() -> Response:
        found = await asyncio.gather(*(_probe(name, check) for name, check in checks().items()))
        down = [str(one["name"]) for one in found if not one["ready"]]
        body = {"status": "not_ready" if down else "ready", "service": service, "down": down, "dependencies": found}
        return JSONResponse(body, 503 if down else 200, {"Retry-After": "2"} if down else None)

    @router.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return router
