"""`/api/v1/agents`."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Response

from api.definitions import service
from api.definitions.pages import definition_page, resource, version_page, version_resource
from api.deps import DEFAULT_PROJECT, Project, ProjectFilter, ReadSessionDep, Ref, Search, WriteSessionDep
from studio.contracts.agents import AgentDefinition
from studio.contracts.base import JsonObject, Page
from studio.contracts.resources import AgentVersion, StoredAgent, UnreadableDefinition
from studio.db.tables import DefinitionRow
from studio.web.json_route import JsonRoute
from studio.web.openapi import problems
from studio.web.paging import DEFAULT_LIMIT, Cursor, Limit
from studio.web.preconditions import ANONYMOUS, Actor, IfMatch

router = APIRouter(prefix="/api/v1/agents", tags=["agents"], route_class=JsonRoute)

AgentBody = Annotated[
    AgentDefinition,
    Body(
        openapi_examples={
            "researcher": {
                "value": {
                    "name": "researcher",
                    "model": "default",
                    "instructions": "You answer in three sentences.",
                    "message": "{{ question }}",
                }
            }
        }
    ),
]


@router.post(
    "",
    status_code=201,
    summary="Store a new agent",
    responses=problems(409, 415, 422),
    response_model_exclude_unset=True,
)
async def create_agent(
    definition: AgentBody, session: WriteSessionDep, response: Response, actor: Actor = ANONYMOUS
) -> StoredAgent:
    row = await service.create_definition(session, definition, actor)
    response.headers["Location"] = f"/api/v1/agents/{row.id}"
    return _answer(row, response)


@router.get("", summary="List agents, newest first", responses=problems(422), response_model_exclude_unset=True)
async def list_agents(
    session: ReadSessionDep,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    project_id: ProjectFilter = None,
    q: Search = None,
) -> Page[StoredAgent | UnreadableDefinition]:
    return await definition_page(session, "agent", StoredAgent, limit=limit, cursor=cursor, project_id=project_id, q=q)


@router.get("/{ref}", summary="Read an agent", responses=problems(404), response_model_exclude_unset=True)
async def get_agent(
    ref: Ref, session: ReadSessionDep, response: Response, project_id: Project = DEFAULT_PROJECT
) -> StoredAgent:
    return _answer(await service.get_definition(session, "agent", ref, project_id), response)


@router.put(
    "/{ref}",
    summary="Replace an agent: a new version",
    responses=problems(404, 412, 415, 422),
    response_model_exclude_unset=True,
)
async def replace_agent(
    ref: Ref,
    definition: AgentBody,
    session: WriteSessionDep,
    response: Response,
    project_id: Project = DEFAULT_PROJECT,
    if_match: IfMatch = None,
    actor: Actor = ANONYMOUS,
) -> StoredAgent:
    row = await service.replace_definition(session, ref, project_id, definition, if_match=if_match, actor=actor)
    return _answer(row, response)


@router.patch(
    "/{ref}",
    summary="Change an agent with a JSON merge patch",
    responses=problems(404, 412, 415, 422),
    response_model_exclude_unset=True,
)
async def patch_agent(
    ref: Ref,
    patch: JsonObject,
    session: WriteSessionDep,
    response: Response,
    project_id: Project = DEFAULT_PROJECT,
    if_match: IfMatch = None,
    actor: Actor = ANONYMOUS,
) -> StoredAgent:
    row = await service.patch_definition(session, "agent", ref, project_id, patch, if_match=if_match, actor=actor)
    return _answer(row, response)


@router.delete(
    "/{ref}", status_code=204, summary="Delete an agent that no workflow names", responses=problems(404, 409, 412)
)
async def delete_agent(
    ref: Ref, session: WriteSessionDep, project_id: Project = DEFAULT_PROJECT, if_match: IfMatch = None
) -> None:
    await service.delete_definition(session, "agent", ref, project_id, if_match=if_match)


@router.get(
    "/{ref}/versions",
    summary="List an agent's versions, newest first",
    responses=problems(404, 422),
    response_model_exclude_unset=True,
)
async def list_agent_versions(
    ref: Ref,
    session: ReadSessionDep,
    project_id: Project = DEFAULT_PROJECT,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[AgentVersion]:
    items, more = await version_page(session, "agent", ref, project_id, limit=limit, cursor=cursor)
    return Page(items=[AgentVersion.model_validate(item) for item in items], next_cursor=more)


@router.get(
    "/{ref}/versions/{version}",
    summary="Read one version of an agent",
    responses=problems(404),
    response_model_exclude_unset=True,
)
async def get_agent_version(
    ref: Ref,
    version: Annotated[int, Path(ge=1, le=2**31 - 1)],
    session: ReadSessionDep,
    project_id: Project = DEFAULT_PROJECT,
) -> AgentVersion:
    row, found = await service.get_definition_version(session, "agent", ref, project_id, version)
    return AgentVersion.model_validate(version_resource(row, found))


def _answer(row: DefinitionRow, response: Response) -> StoredAgent:
    response.headers["ETag"] = service.definition_etag(row)
    return StoredAgent.model_validate(resource(row))
