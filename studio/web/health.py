"""`/health/live`, `/health/ready` and `/metrics`, alike in all services."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import structlog
from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from starlette.responses import Response

from studio.errors import StudioError
from studio.web.responses import JSONResponse

Check = Callable[[], Awaitable[object]]
"""Asks one dependency; raises when it does not answer."""

CHECK_TIMEOUT_SECONDS = 3.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Checks:
    """A service's dependencies by what it is worth without them."""

    needed: Mapping[str, Check] = field(default_factory=dict[str, Check])
    """Without one of these it works for nobody."""
    any_of: Mapping[str, Check] = field(default_factory=dict[str, Check])
    """Each of these serves some callers; without all of them it works for nobody."""
    useful: Mapping[str, Check] = field(default_factory=dict[str, Check])
    """Without these it works less well."""


class Dependency(BaseModel):
    """What one dependency answered."""

    name: str
    ready: bool
    detail: str | None


class Degradation(BaseModel):
    """A dependency that is away while the service goes on without it."""

    dependency: str
    error: str


class Readiness(BaseModel):
    """The body of `/health/ready`: 503 when something is `down`, else 200."""

    status: Literal["ready", "not_ready"]
    service: str
    down: list[str]
    """The dependencies without which nobody is served."""
    degraded: list[Degradation]
    dependencies: list[Dependency]


async def _probe(name: str, check: Check) -> Dependency:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            await check()
    except Exception as error:  # noqa: BLE001 - whatever fails, the dependency is not ready
        _log.warning("health.not_ready", dependency=name, error=str(error))
        detail = error.detail if isinstance(error, StudioError) else f"{name} does not answer ({type(error).__name__})"
        return Dependency(name=name, ready=False, detail=detail)
    return Dependency(name=name, ready=True, detail=None)


async def readiness(service: str, checks: Checks) -> Readiness:
    """Ask all dependencies at once."""
    asked = {**checks.needed, **checks.any_of, **checks.useful}
    found = await asyncio.gather(*(_probe(name, check) for name, check in asked.items()))
    missing = {one.name for one in found if not one.ready}
    down = missing & checks.needed.keys()
    if checks.any_of and checks.any_of.keys() <= missing:
        down |= checks.any_of.keys()
    return Readiness(
        status="not_ready" if down else "ready",
        service=service,
        down=[one.name for one in found if one.name in down],
        degraded=[
            Degradation(dependency=one.name, error=one.detail or "")
            for one in found
            if one.name in missing and one.name not in down
        ],
        dependencies=list(found),
    )


def health_router(service: str, checks: Callable[[], Checks]) -> APIRouter:
    """`checks` is called for each request, so that it may reach what the lifespan opened."""
    router = APIRouter(tags=["health"])

    @router.get("/health/live")
    async def live() -> dict[str, str]:
        return {"status": "live", "service": service}

    @router.get(
        "/health/ready",
        response_model=Readiness,
        responses={
            503: {"description": "The service works for nobody; `down` names what is missing", "model": Readiness}
        },
    )
    async def ready() -> Response:
        """`degraded` names what the service goes on without."""
        found = await readiness(service, checks())
        return JSONResponse(found, 503, {"Retry-After": "2"}) if found.down else JSONResponse(found)

    @router.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return router
