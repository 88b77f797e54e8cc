"""`/v1/models` and `/api/v1/upstreams`."""

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from llm_service.errors import ModelNotFound, UpstreamUnreachable, problem_with_openai_error
from llm_service.upstreams.catalog import Catalog, ModelEntry, ModelList, UpstreamState
from studio.contracts.base import Page
from studio.web.json_route import JsonRoute
from studio.web.openapi import problems
from studio.web.responses import JSONResponse


def _catalog(request: Request) -> Catalog:
    return cast("Catalog", request.app.state.catalog)


CatalogDep = Annotated[Catalog, Depends(_catalog)]


def models_router(prefix: str, suffix: str) -> APIRouter:
    """`suffix` ends the names of its operations in the OpenAPI document."""
    router = APIRouter(prefix=prefix, tags=["models"])

    @router.get("/models", name=f"list_models{suffix}", summary="List the models of all upstreams, and the aliases")
    async def list_models(catalog: CatalogDep) -> ModelList:
        return await catalog.models()

    @router.get(
        "/models/{model:path}",
        name=f"get_model{suffix}",
        summary="Read a model",
        response_model=ModelEntry,
        responses=problems(404),
    )
    async def get_model(model: str, catalog: CatalogDep) -> Response:
        try:
            return JSONResponse(await catalog.model(model))
        except (ModelNotFound, UpstreamUnreachable) as error:
            return problem_with_openai_error(error, {})

    return router


upstreams_router = APIRouter(prefix="/api/v1", tags=["upstreams"], route_class=JsonRoute)


@upstreams_router.get("/upstreams", summary="List the upstreams and how they are")
async def list_upstreams(catalog: CatalogDep) -> Page[UpstreamState]:
    return Page(items=await catalog.states())
