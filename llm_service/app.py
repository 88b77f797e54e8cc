"""The LLM engine as an ASGI application."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import cast

from fastapi import FastAPI
from starlette.routing import Route

from llm_service.calls.endpoint import CallEndpoint, Gateway
from llm_service.calls.request import CHAT, EMBEDDINGS, TEXT
from llm_service.direct import DirectRoutes
from llm_service.docs import call_descriptions
from llm_service.errors import add_openai_errors, problem_with_openai_error
from llm_service.pricing import PriceList
from llm_service.settings import LlmSettings
from llm_service.upstreams.catalog import Catalog
from llm_service.upstreams.endpoints import models_router, upstreams_router
from llm_service.upstreams.routing import ModelRouter
from llm_service.upstreams.upstream import Upstream, open_connections
from studio.tracing import SpanSender
from studio.web.app import create_base_app
from studio.web.health import Checks

SERVICE = "llm"
PREFIXES = {"/v1": "", "/api/v1": "_below_api"}
"""Where calls and models answer, and what the names of their operations end with in the OpenAPI document."""
DESCRIPTION = """One OpenAI-compatible gateway for chat, text and embeddings over the configured upstreams.

Every call leaves a span with its usage and its cost. `/v1` and `/api/v1` answer alike."""


def create_app(settings: LlmSettings) -> DirectRoutes:
    """Nothing is opened before the lifespan starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        upstreams = {config.name: Upstream(config) for config in settings.upstreams}
        router = ModelRouter(settings.upstreams, settings.model_aliases)
        content = settings.trace_content == "on"
        async with SpanSender(settings.prompt_url, content=content) as spans, open_connections() as connections:
            app.state.catalog = Catalog(upstreams, router, connections)
            app.state.gateway = Gateway(
                router=router,
                upstreams=upstreams,
                prices=PriceList(settings.upstreams),
                connections=connections,
                spans=spans,
                ping_seconds=settings.stream_ping_seconds,
                content=content,
            )
            try:
                yield
            finally:
                await app.state.catalog.close()

    def checks(app: FastAPI) -> Checks:
        catalog = cast("Catalog", app.state.catalog)
        return Checks(any_of={upstream.name: partial(catalog.check, upstream.name) for upstream in settings.upstreams})

    app = create_base_app(
        service=SERVICE,
        title="AI Studio LLM engine",
        description=DESCRIPTION,
        settings=settings,
        lifespan=lifespan,
        checks=checks,
        extend_document=call_descriptions(PREFIXES),
        render=problem_with_openai_error,
    )
    add_openai_errors(app, "/v1")
    calls = [
        Route(prefix + operation.path, CallEndpoint(operation), methods=["POST"])
        for prefix in PREFIXES
        for operation in (CHAT, TEXT, EMBEDDINGS)
    ]
    for prefix, suffix in PREFIXES.items():
        app.include_router(models_router(prefix, suffix))
    app.include_router(upstreams_router)
    return DirectRoutes(app, routes=calls, service=SERVICE, settings=settings)
