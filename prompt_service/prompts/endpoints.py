"""`/api/v1/prompts`, `/render` and `/tags`."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import ValidationError
from starlette.routing import Match, Route
from starlette.types import Scope

from prompt_service.deps import ProjectFilter, ProjectId, ResourcesDep, get_resources
from prompt_service.prompts.rendering import content_hash
from studio.contracts.base import NAME_PATTERN, Contract, JsonObject, Name, Page
from studio.contracts.prompts import (
    DEFAULT_PROJECT,
    ApplyPrompts,
    ApplyResult,
    PromoteRequest,
    Promotion,
    Prompt,
    PromptDocument,
    PromptDraft,
    PromptIdentity,
    PromptPatch,
    PromptType,
    PromptVersion,
    Rendered,
    RenderedPrompt,
    RenderRequest,
    ResolvedPrompt,
    UnstoredRenderRequest,
    VersionDraft,
)
from studio.errors import FieldError, InvalidInput
from studio.web.field_errors import invalid_input
from studio.web.json_route import JsonRoute, check_address, read_json
from studio.web.openapi import problems
from studio.web.paging import DEFAULT_LIMIT, Cursor, Limit, decode_cursor, encode_cursor
from studio.web.preconditions import ANONYMOUS, Actor, IfMatch, etag_of
from studio.web.query import DeclaredQuery
from studio.web.responses import JSONResponse

router = APIRouter(prefix="/api/v1", tags=["prompts"], route_class=JsonRoute)

Ref = Annotated[str, Path(max_length=80, description="An id (`prm_…`) or a name within `project_id`")]
VersionPath = Annotated[int, Path(ge=1, le=2_147_483_647)]


class TagCount(Contract):
    name: str
    prompts: int


@router.post("/prompts", status_code=201, response_model=Prompt, summary="Store a new prompt", responses=problems(409))
async def create_prompt(draft: PromptDraft, resources: ResourcesDep, actor: Actor = ANONYMOUS) -> Response:
    prompt = await resources.prompts.create(draft, actor)
    return _answer(prompt, 201, location=f"/api/v1/prompts/{prompt.id}", etag=prompt.revision)


@router.get("/prompts", response_model=Page[Prompt], summary="List prompts, newest first")
async def list_prompts(
    resources: ResourcesDep,
    project_id: ProjectFilter = None,
    tag: Annotated[str | None, Query(max_length=64)] = None,
    prompt_type: Annotated[PromptType | None, Query(alias="type")] = None,
    label: Annotated[Name | None, Query(description="Only those that have this label")] = None,
    q: Annotated[str | None, Query(max_length=200, description="Text in name or description")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[Prompt]:
    found = await resources.repository.list_prompts(
        project_id=project_id,
        tag=tag,
        type_=prompt_type,
        label=label,
        text=q,
        before_id=None if cursor is None else str(decode_cursor(cursor, 1)[0]),
        limit=limit + 1,
    )
    more = len(found) > limit
    return Page(items=found[:limit], next_cursor=encode_cursor(found[limit - 1].id) if more else None)


@router.post("/prompts:apply", summary="Create or update prompts, all or none", responses=problems(409))
async def apply_prompts(request: ApplyPrompts, resources: ResourcesDep, actor: Actor = ANONYMOUS) -> ApplyResult:
    """All are checked before anything is written."""
    return ApplyResult(results=await resources.documents.apply(request.prompts, dry_run=request.dry_run, actor=actor))


@router.get(
    "/prompts:export",
    response_model=list[PromptDocument],
    summary="Export prompts as documents",
    responses=problems(404),
)
async def export_prompts(
    resources: ResourcesDep, project_id: ProjectFilter = None, name: Annotated[Name | None, Query()] = None
) -> Response:
    documents = await resources.documents.export(project_id=project_id, name=name)
    return JSONResponse(
        [document.model_dump(mode="json", exclude_none=True) | {"label": document.label} for document in documents]
    )


@router.get("/tags", summary="List the tags of prompts")
async def list_tags(
    resources: ResourcesDep, project_id: ProjectFilter = None, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[TagCount]:
    after = None if cursor is None else str(decode_cursor(cursor, 1)[0])
    found = await resources.repository.list_tags(project_id=project_id, after=after, limit=limit + 1)
    items = [TagCount(name=name, prompts=count) for name, count in found[:limit]]
    return Page(items=items, next_cursor=encode_cursor(items[-1].name) if len(found) > limit else None)


@router.post("/render", response_model_exclude_none=True, summary="Render a template that is not stored")
async def render_template(request: UnstoredRenderRequest, resources: ResourcesDep) -> Rendered:
    rendered = await resources.prompts.render_unstored(request, request.variables)
    digest = content_hash(rendered)
    if isinstance(rendered, str):
        return Rendered(text=rendered, content_hash=digest)
    return Rendered(messages=rendered, content_hash=digest)


@router.get("/prompts/{ref}", response_model=Prompt, summary="Read a prompt", responses=problems(404))
async def get_prompt(ref: Ref, resources: ResourcesDep, project_id: ProjectId = DEFAULT_PROJECT) -> Response:
    prompt = await resources.repository.get(ref, project_id)
    return _answer(prompt, etag=prompt.revision)


@router.patch(
    "/prompts/{ref}",
    response_model=Prompt,
    summary="Change a prompt's description or tags",
    responses=problems(404, 412),
)
async def patch_prompt(
    ref: Ref,
    patch: PromptPatch,
    resources: ResourcesDep,
    project_id: ProjectId = DEFAULT_PROJECT,
    if_match: IfMatch = None,
) -> Response:
    prompt = await resources.prompts.patch(ref, project_id, patch, if_match)
    return _answer(prompt, etag=prompt.revision)


@router.delete("/prompts/{ref}", status_code=204, summary="Delete a prompt", responses=problems(404, 412))
async def delete_prompt(
    ref: Ref, resources: ResourcesDep, project_id: ProjectId = DEFAULT_PROJECT, if_match: IfMatch = None
) -> None:
    await resources.prompts.delete(ref, project_id, if_match)


@router.post(
    "/prompts/{ref}/versions",
    status_code=201,
    response_model=PromptVersion,
    summary="Store a new version of a prompt",
    responses={
        200: {"model": PromptVersion, "description": "The newest version has this content already"},
        **problems(404),
    },
)
async def create_prompt_version(
    ref: Ref,
    draft: VersionDraft,
    resources: ResourcesDep,
    project_id: ProjectId = DEFAULT_PROJECT,
    actor: Actor = ANONYMOUS,
) -> Response:
    prompt, version, created = await resources.prompts.add_version(ref, project_id, draft, actor)
    location = f"/api/v1/prompts/{prompt.id}/versions/{version.version}"
    return _answer(version, 201 if created else 200, location=location, etag=version.version)


@router.get(
    "/prompts/{ref}/versions",
    response_model=Page[PromptVersion],
    summary="List a prompt's versions, newest first",
    responses=problems(404),
)
async def list_prompt_versions(
    ref: Ref,
    resources: ResourcesDep,
    project_id: ProjectId = DEFAULT_PROJECT,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[PromptVersion]:
    before = None if cursor is None else _number(decode_cursor(cursor, 1)[0])
    prompt = await resources.repository.get(ref, project_id)
    found = await resources.repository.list_versions(prompt, before=before, limit=limit + 1)
    items = found[:limit]
    return Page(items=items, next_cursor=encode_cursor(items[-1].version) if len(found) > limit else None)


@router.get(
    "/prompts/{ref}/versions/{number}",
    response_model=PromptVersion,
    summary="Read one version of a prompt",
    responses=problems(404),
)
async def get_prompt_version(
    ref: Ref, number: VersionPath, resources: ResourcesDep, project_id: ProjectId = DEFAULT_PROJECT
) -> Response:
    prompt = await resources.repository.get(ref, project_id)
    version = await resources.repository.get_version(prompt, number)
    return _answer(version, etag=version.version)


@router.post(
    "/prompts/{ref}/promote",
    response_model=Prompt,
    summary="Point a label to a version",
    responses=problems(404, 409),
)
async def promote_prompt(
    ref: Ref,
    request: PromoteRequest,
    resources: ResourcesDep,
    project_id: ProjectId = DEFAULT_PROJECT,
    actor: Actor = ANONYMOUS,
) -> Response:
    """When this has answered, no process serves the version that the label pointed to before."""
    prompt = await resources.prompts.promote(ref, project_id, request, actor)
    return _answer(prompt, etag=prompt.revision)


@router.get(
    "/prompts/{ref}/promotions",
    response_model=Page[Promotion],
    summary="List a prompt's promotions, newest first",
    responses=problems(404),
)
async def list_prompt_promotions(
    ref: Ref,
    resources: ResourcesDep,
    project_id: ProjectId = DEFAULT_PROJECT,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[Promotion]:
    before = None if cursor is None else str(decode_cursor(cursor, 1)[0])
    prompt = await resources.repository.get(ref, project_id)
    found = await resources.repository.list_promotions(prompt, before_id=before, limit=limit + 1)
    items = found[:limit]
    return Page(items=items, next_cursor=encode_cursor(items[-1].id) if len(found) > limit else None)


@router.get("/prompts/{ref}/resolve", summary="Read the version that a caller gets", responses=problems(404))
async def resolve_prompt(
    ref: Ref,
    resources: ResourcesDep,
    project_id: ProjectId = DEFAULT_PROJECT,
    label: Annotated[Name | None, Query(description="`production` unless told otherwise")] = None,
    version: Annotated[int | None, Query(ge=1, le=2_147_483_647)] = None,
) -> ResolvedPrompt:
    """An unknown label is 404, never another version."""
    if label is not None and version is not None:
        error = FieldError(loc=["query", "version"], msg="give either 'label' or 'version'", type="exclusive")
        raise InvalidInput("Give either 'label' or 'version'.", errors=[error])
    found = await resources.prompts.find(ref, project_id, label=label, version=version)
    pointer, stored = found.pointer, found.version
    return ResolvedPrompt(
        prompt=PromptIdentity(id=pointer.id, name=pointer.name, project_id=pointer.project_id, type=pointer.type),
        version=stored.version,
        label=found.label,
        revision=pointer.revision,
        cache=found.cache,
        engine=stored.engine,
        template=stored.template,
        messages=stored.messages,
        variables=stored.variables,
        config=stored.config,
    )


_RENDER_QUERY = DeclaredQuery(["project_id"])
_RENDER_DOCS: dict[str, Any] = {
    "parameters": [
        {"name": "ref", "in": "path", "required": True, "schema": {"type": "string"}},
        {"name": "project_id", "in": "query", "schema": {"type": "string", "default": DEFAULT_PROJECT}},
    ],
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/RenderRequest"}}},
    },
}


@router.post(
    "/prompts/{ref}/render",
    response_model=RenderedPrompt,
    summary="Render a stored prompt",
    responses=problems(404),
    openapi_extra=_RENDER_DOCS,
)
async def render_prompt(request: Request) -> Response:
    """Render a stored prompt: the hot path, so it reads its own parameters and body."""
    check_address(request)
    _RENDER_QUERY.check(request)
    project_id = request.query_params.get("project_id", DEFAULT_PROJECT)
    if not _is_name(project_id):
        error = FieldError(loc=["query", "project_id"], msg=f"must match {NAME_PATTERN}", type="string_pattern")
        raise InvalidInput(f"query.project_id: must match {NAME_PATTERN}", errors=[error])
    given = await read_json(request, without={})
    try:
        asked = RenderRequest.model_validate(given)
    except ValidationError as error:
        raise invalid_input(error, prefix=("body",), shape=RenderRequest) from None
    found, rendered = await get_resources(request).prompts.render(request.path_params["ref"], project_id, asked)
    body: JsonObject = {
        "text" if isinstance(rendered, str) else "messages": rendered,
        "prompt_id": found.pointer.id,
        "name": found.pointer.name,
        "version": found.version.version,
        "config": found.version.config,
        "content_hash": content_hash(rendered),
    }
    return Response(orjson.dumps(body), headers={"X-Studio-Cache": found.cache}, media_type="application/json")


class HotRoute(Route):
    """The same handler in front of all others: FastAPI's own matching costs more than the whole render.

    FastAPI's route stays for the documentation. Like FastAPI's, it leaves itself in the scope, for the metrics.
    """

    def __init__(self) -> None:
        super().__init__("/api/v1/prompts/{ref}/render", render_prompt, methods=["POST"])

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, found = super().matches(scope)
        return match, found if match is Match.NONE else {**found, "route": self}


def _is_name(text: str) -> bool:
    return len(text) <= 63 and text.isascii() and text.replace("_", "a").replace("-", "a").isalnum()


def _number(key: str | int) -> int:
    return key if isinstance(key, int) else 1


def _answer(body: Contract, status: int = 200, *, location: str | None = None, etag: int | None = None) -> Response:
    headers: dict[str, str] = {}
    if location is not None:
        headers["Location"] = location
    if etag is not None:
        headers["ETag"] = etag_of(etag)
    return Response(body.model_dump_json(), status, headers, "application/json")
