"""The prompt engine: prompts, rendering and traces over HTTP."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

from fastapi import FastAPI

from prompt_service.prompts import endpoints as prompts
from prompt_service.resources import Resources, open_resources
from prompt_service.settings import PromptSettings
from prompt_service.traces import endpoints as traces
from studio.contracts.base import JsonObject
from studio.contracts.prompts import RenderRequest
from studio.contracts.spans import SPANS_BODY_BYTES
from studio.web.app import create_base_app
from studio.web.health import Checks

SERVICE = "prompts"


def create_app(settings: PromptSettings) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with open_resources(settings) as resources:
            app.state.resources = resources
            yield

    app = create_base_app(
        service=SERVICE,
        title="AI Studio prompt engine",
        description="Prompts with immutable versions, promotion and sandboxed rendering; traces of what ran.",
        settings=settings,
        lifespan=lifespan,
        checks=_checks,
        larger_bodies={"/api/v1/traces": SPANS_BODY_BYTES},
        extend_document=_describe,
        links={"Prompt": "/api/v1/prompts/{ref}"},
    )
    app.router.routes.insert(0, prompts.HotRoute())
    app.include_router(prompts.router)
    app.include_router(traces.router)
    return app


def _describe(document: JsonObject) -> None:
    """The schemas of the bodies that endpoints read themselves."""
    schemas = document["components"]["schemas"]
    for body in (RenderRequest, traces.SpanBatch):
        schema = body.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(schema.pop("$defs", {}))
        schemas[body.__name__] = schema


def _checks(app: FastAPI) -> Checks:
    """Without MongoDB cached prompts and traces go on, without ClickHouse prompts do; Redis is a cache."""
    resources = cast("Resources", app.state.resources)
    return Checks(
        any_of={
            "mongo": lambda: resources.mongo.admin.command("ping"),
            "clickhouse": lambda: resources.store.query("SELECT 1"),
        },
        useful={"redis": resources.cache.ping},
    )
