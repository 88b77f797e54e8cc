"""The base of the three services."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from types import MappingProxyType
from typing import Any, cast

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse
from fastapi_offline import FastAPIOffline
from starlette.routing import Route

from studio.contracts.base import JsonObject
from studio.errors import StudioError
from studio.settings import StudioSettings
from studio.web.health import Checks, health_router
from studio.web.middleware import RequestMiddleware
from studio.web.openapi import describe, operation_id
from studio.web.problems import add_problem_handlers, problem_response
from studio.web.responses import JSONResponse

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[Any]]


def create_base_app(
    *,
    service: str,
    title: str,
    description: str,
    settings: StudioSettings,
    lifespan: Lifespan,
    checks: Callable[[FastAPI], Checks],
    larger_bodies: Mapping[str, int] = MappingProxyType({}),
    pages: Mapping[str, Collection[str]] = MappingProxyType({}),
    links: Mapping[str, str] = MappingProxyType({}),
    extend_document: Callable[[JsonObject], None] | None = None,
    render: Callable[[StudioError], Response] = problem_response,
) -> FastAPI:
    """A FastAPI app with problem+json, request ids, body limit, health and metrics; routers are added by the caller.

    `larger_bodies` has the limits, in bytes, of paths that take more than others; `pages` the origins of pages
    that may ask for paths that begin so. `links` and `extend_document` are for the OpenAPI document, see
    `studio.web.openapi.describe`; `render` is how a request is answered that is refused before it reaches a route.
    """
    app = FastAPIOffline(  # its documentation page loads nothing from elsewhere
        title=title,
        description=description,
        version="0.1.0",
        lifespan=lifespan,
        default_response_class=JSONResponse,
        generate_unique_id_function=operation_id,
        separate_input_output_schemas=False,
        redoc_url=None,
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
        },  # we have our own; asking costs each request 15 µs
    )
    app.add_middleware(
        RequestMiddleware, service=service, settings=settings, larger=larger_bodies, pages=pages, render=render
    )
    add_problem_handlers(app)
    describe(app, links, extend_document)
    _describe_in_a_thread(app)
    app.add_api_route("/", _to_docs, include_in_schema=False)
    app.include_router(health_router(service, lambda: checks(app)))
    return app


def _describe_in_a_thread(app: FastAPI) -> None:
    """Making `/openapi.json` takes seconds, the first time; other requests do not wait for it."""
    place, route = next((at, one) for at, one in enumerate(app.routes) if getattr(one, "path", "") == app.openapi_url)
    describe = cast("Route", route).endpoint

    async def described(request: Request) -> Response:
        await asyncio.to_thread(app.openapi)
        return await describe(request)

    app.router.routes[place] = Route(cast("Route", route).path, described, include_in_schema=False)


async def _to_docs(request: Request) -> Response:
    return RedirectResponse(request.scope.get("root_path", "") + "/docs")
