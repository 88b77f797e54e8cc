"""`/api/v1/apply`, `/api/v1/export` and `/api/v1/workflows/validate`."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api.apply.parsing import BODY_SCHEMA, read_documents
from api.apply.service import apply_documents, export_documents, validate_documents
from api.deps import PartsDep, ProjectFilter
from studio.contracts.base import NAME_PATTERN
from studio.contracts.reports import ApplyReport, DocumentKind, ValidationReport
from studio.document_writer import join_documents
from studio.errors import InvalidInput
from studio.web.json_route import JsonRoute
from studio.web.openapi import problems
from studio.web.preconditions import ANONYMOUS, Actor

router = APIRouter(prefix="/api/v1", tags=["documents"], route_class=JsonRoute)


@router.post(
    "/apply",
    name="apply_documents",
    summary="Create or update every document, all or nothing",
    responses=problems(409, 415, 422, 503),
    openapi_extra={"requestBody": BODY_SCHEMA},
)
async def apply(
    request: Request,
    parts: PartsDep,
    dry_run: Annotated[bool, Query(description="Only say what would happen")] = False,
    actor: Actor = ANONYMOUS,
) -> ApplyReport:
    sources = await read_documents(request)
    return await apply_documents(
        sources, parts.database, parts.prompts, parts.schedules.temporal, actor=actor, dry_run=dry_run
    )


@router.post(
    "/workflows/validate",
    name="validate_documents",
    summary="Say what is wrong with a document; nothing is stored",
    responses=problems(415, 503),
    openapi_extra={"requestBody": BODY_SCHEMA},
)
async def validate(request: Request, parts: PartsDep) -> ValidationReport:
    try:
        sources = await read_documents(request)
    except InvalidInput as error:
        return await validate_documents(error, parts.database, parts.prompts)
    return await validate_documents(sources, parts.database, parts.prompts)


@router.get(
    "/export",
    name="export_documents",
    summary="The stored documents, as YAML that `apply` takes back",
    responses={200: {"content": {"application/yaml": {"schema": {"type": "string"}}}}, **problems(404, 409, 422, 503)},
    response_class=Response,
)
async def export(
    parts: PartsDep,
    kind: Annotated[list[DocumentKind] | None, Query(description="Only these; default all")] = None,
    name: Annotated[str | None, Query(pattern=NAME_PATTERN)] = None,
    project_id: ProjectFilter = None,
) -> Response:
    kinds = kind or ["prompt", "agent", "workflow", "schedule"]
    documents = await export_documents(parts.database, parts.prompts, kinds=kinds, name=name, project_id=project_id)
    return Response(join_documents(documents), media_type="application/yaml")
