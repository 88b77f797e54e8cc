"""`/v1/models` and `/api/v1/upstreams`."""

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from llm_service.errors import ModelNotFound, UpstreamUnreachable, problem_with_openai_error
from llm_service.upstreams.catalog import Catalog, ModelEntry, ModelList, UpstreamState
from studio.contracts.base import Page
from studio.web.responses import JSONResponse


def _catalog(request: Request) -> Catalog:
    return cast("Catalog", request.app.state.catalog)


CatalogDep = Annotated[Catalog, Depends(_catalog)]


def models_router(prefix: str) -> APIRouter:
    router = APIRouter(prefix=prefix, tags=["models"])

    @router.get("/models")
    async def list_models(catalog: CatalogDep) -> ModelList:
        return await catalog.models()

    @router.get("/models/{model:path}", response_model=ModelEntry)
    async def get_model(model: str, catalog: CatalogDep) -> Response:
        try:
            return JSONResponse(await catalog.model(model))
        except (ModelNotFound, UpstreamUnreachable) as error:
            return problem_with_openai_error(error, {})

    return router


upstreams_router = APIRouter(prefix="/api/v1", tags=["upstreams"])


@upstreams_router.get("/upstreams")
async def list_upstreams(catalog: CatalogDep) -> Page[UpstreamState]:
    return Page(items=await catalog.states())
