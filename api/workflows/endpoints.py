"""`/api/v1/workflows`."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Response

from api.definitions import service
from api.definitions.pages import definition_page, resource, version_page, version_resource
from api.deps import DEFAULT_PROJECT, Project, ProjectFilter, ReadSessionDep, Ref, Search, WriteSessionDep
from studio.contracts.base import JsonObject, Page
from studio.contracts.definitions import AnyWorkflow
from studio.contracts.reports import Graph
from studio.contracts.resources import StoredWorkflow, UnreadableDefinition, WorkflowVersion
from studio.db.tables import DefinitionRow
from studio.web.json_route import JsonRoute
from studio.web.openapi import problems
from studio.web.paging import DEFAULT_LIMIT, Cursor, Limit
from studio.web.preconditions import ANONYMOUS, Actor, IfMatch

router = APIRouter(prefix="/api/v1/workflows", tags=["workflows"], route_class=JsonRoute)

WorkflowBody = Annotated[
    AnyWorkflow,
    Body(
        openapi_examples={
            "research-brief": {
                "value": {
                    "name": "research-brief",
                    "pattern": "sequential",
                    "input_schema": {"type": "object", "required": ["topic"]},
                    "steps": [
                        {"id": "plan", "agent": "planner", "input": {"topic": "${{ input.topic }}"}},
                        {"id": "write", "agent": "writer", "input": {"plan": "${{ steps.plan.output }}"}},
                    ],
                    "output": "${{ steps.write.output }}",
                }
            }
        }
    ),
]


@router.post(
    "",
    status_code=201,
    summary="Store a new workflow",
    responses=problems(409, 415, 422),
    response_model_exclude_unset=True,
)
async def create_workflow(
    definition: WorkflowBody, session: WriteSessionDep, response: Response, actor: Actor = ANONYMOUS
) -> StoredWorkflow:
    row = await service.create_definition(session, definition, actor)
    response.headers["Location"] = f"/api/v1/workflows/{row.id}"
    return _answer(row, response)


@router.get("", summary="List workflows, newest first", responses=problems(422), response_model_exclude_unset=True)
async def list_workflows(
    session: ReadSessionDep,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    project_id: ProjectFilter = None,
    q: Search = None,
) -> Page[StoredWorkflow | UnreadableDefinition]:
    return await definition_page(
        session, "workflow", StoredWorkflow, limit=limit, cursor=cursor, project_id=project_id, q=q
    )


@router.get("/{ref}", summary="Read a workflow", responses=problems(404), response_model_exclude_unset=True)
async def get_workflow(
    ref: Ref, session: ReadSessionDep, response: Response, project_id: Project = DEFAULT_PROJECT
) -> StoredWorkflow:
    return _answer(await service.get_definition(session, "workflow", ref, project_id), response)


@router.put(
    "/{ref}",
    summary="Replace a workflow: a new version",
    responses=problems(404, 412, 415, 422),
    response_model_exclude_unset=True,
)
async def replace_workflow(
    ref: Ref,
    definition: WorkflowBody,
    session: WriteSessionDep,
    response: Response,
    project_id: Project = DEFAULT_PROJECT,
    if_match: IfMatch = None,
    actor: Actor = ANONYMOUS,
) -> StoredWorkflow:
    row = await service.replace_definition(session, ref, project_id, definition, if_match=if_match, actor=actor)
    return _answer(row, response)


@router.patch(
    "/{ref}",
    summary="Change a workflow with a JSON merge patch",
    responses=problems(404, 412, 415, 422),
    response_model_exclude_unset=True,
)
async def patch_workflow(
    ref: Ref,
    patch: JsonObject,
    session: WriteSessionDep,
    response: Response,
    project_id: Project = DEFAULT_PROJECT,
    if_match: IfMatch = None,
    actor: Actor = ANONYMOUS,
) -> StoredWorkflow:
    row = await service.patch_definition(session, "workflow", ref, project_id, patch, if_match=if_match, actor=actor)
    return _answer(row, response)


@router.delete("/{ref}", status_code=204, summary="Delete a workflow", responses=problems(404, 412))
async def delete_workflow(
    ref: Ref, session: WriteSessionDep, project_id: Project = DEFAULT_PROJECT, if_match: IfMatch = None
) -> None:
    await service.delete_definition(session, "workflow", ref, project_id, if_match=if_match)


@router.get(
    "/{ref}/versions",
    summary="List a workflow's versions, newest first",
    responses=problems(404, 422),
    response_model_exclude_unset=True,
)
async def list_workflow_versions(
    ref: Ref,
    session: ReadSessionDep,
    project_id: Project = DEFAULT_PROJECT,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[WorkflowVersion]:
    items, more = await version_page(session, "workflow", ref, project_id, limit=limit, cursor=cursor)
    return Page(items=[WorkflowVersion.model_validate(item) for item in items], next_cursor=more)


@router.get(
    "/{ref}/versions/{version}",
    summary="Read one version of a workflow",
    responses=problems(404),
    response_model_exclude_unset=True,
)
async def get_workflow_version(
    ref: Ref,
    version: Annotated[int, Path(ge=1, le=2**31 - 1)],
    session: ReadSessionDep,
    project_id: Project = DEFAULT_PROJECT,
) -> WorkflowVersion:
    row, found = await service.get_definition_version(session, "workflow", ref, project_id, version)
    return WorkflowVersion.model_validate(version_resource(row, found))


@router.get("/{ref}/graph", summary="Nodes and edges of a workflow, for drawing", responses=problems(404, 422))
async def get_workflow_graph(
    ref: Ref,
    session: ReadSessionDep,
    project_id: Project = DEFAULT_PROJECT,
    version: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="Default the newest")] = None,
) -> Graph:
    """A node is a step: its `id` is the step's path, `block` the path of the block that holds it."""
    return await service.get_workflow_graph(session, ref, project_id, version)


def _answer(row: DefinitionRow, response: Response) -> StoredWorkflow:
    response.headers["ETag"] = service.definition_etag(row)
    return StoredWorkflow.model_validate(resource(row))
