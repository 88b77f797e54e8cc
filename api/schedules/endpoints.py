"""`/api/v1/schedules`."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Response

from api.definitions import service as definitions
from api.definitions.pages import definition_rows, version_page, version_resource
from api.deps import DEFAULT_PROJECT, PartsDep, Project, ProjectFilter, ReadSessionDep, Ref, Search
from api.runs.endpoints import IdempotencyKey
from studio.contracts.base import JsonObject, Page
from studio.contracts.resources import UnreadableDefinition
from studio.contracts.schedules import (
    BackfillSchedule,
    PauseSchedule,
    ScheduleDefinition,
    ScheduleVersion,
    StoredSchedule,
    TriggeredSchedule,
    TriggerSchedule,
)
from studio.db.tables import DefinitionRow
from studio.web.json_route import JsonRoute
from studio.web.openapi import problems
from studio.web.paging import DEFAULT_LIMIT, Cursor, Limit
from studio.web.preconditions import ANONYMOUS, Actor, IfMatch

router = APIRouter(prefix="/api/v1/schedules", tags=["schedules"], route_class=JsonRoute)

ScheduleBody = Annotated[
    ScheduleDefinition,
    Body(
        openapi_examples={
            "morning brief": {
                "value": {
                    "name": "morning-brief",
                    "workflow": "research-brief",
                    "input": {"topic": "heat pumps"},
                    "cron": "0 9 * * MON-FRI",
                    "timezone": "Europe/Berlin",
                }
            }
        }
    ),
]
_TRIGGER, _PAUSE = TriggerSchedule(), PauseSchedule()
_SHOWN_ACTOR = 200
"""Characters: so that a note holds it, whatever its bytes."""


@router.post(
    "",
    status_code=201,
    summary="Store a new schedule",
    responses=problems(409, 415, 422, 503),
    response_model_exclude_unset=True,
)
async def create_schedule(
    definition: ScheduleBody, parts: PartsDep, response: Response, actor: Actor = ANONYMOUS
) -> StoredSchedule:
    row = await parts.schedules.create(definition, actor)
    response.headers["Location"] = f"/api/v1/schedules/{row.id}"
    return await _answer(row, parts, response)


@router.get("", summary="List schedules, newest first", responses=problems(422), response_model_exclude_unset=True)
async def list_schedules(
    parts: PartsDep,
    session: ReadSessionDep,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    project_id: ProjectFilter = None,
    q: Search = None,
) -> Page[StoredSchedule | UnreadableDefinition]:
    rows, more = await definition_rows(session, "schedule", limit=limit, cursor=cursor, project_id=project_id, q=q)
    return Page(items=await parts.schedules.shown_all(rows), next_cursor=more)


@router.get(
    "/{ref}",
    summary="Read a schedule: when it runs next, and what it ran",
    responses=problems(404),
    response_model_exclude_unset=True,
)
async def get_schedule(
    ref: Ref, parts: PartsDep, response: Response, project_id: Project = DEFAULT_PROJECT
) -> StoredSchedule:
    return await _answer(await parts.schedules.get(ref, project_id), parts, response)


@router.put(
    "/{ref}",
    summary="Replace a schedule: a new version",
    responses=problems(404, 412, 415, 422, 503),
    response_model_exclude_unset=True,
)
async def replace_schedule(
    ref: Ref,
    definition: ScheduleBody,
    parts: PartsDep,
    response: Response,
    project_id: Project = DEFAULT_PROJECT,
    if_match: IfMatch = None,
    actor: Actor = ANONYMOUS,
) -> StoredSchedule:
    row = await parts.schedules.replace(ref, project_id, definition, if_match=if_match, actor=actor)
    return await _answer(row, parts, response)


@router.patch(
    "/{ref}",
    summary="Change a schedule with a JSON merge patch",
    responses=problems(404, 412, 415, 422, 503),
    response_model_exclude_unset=True,
)
async def patch_schedule(
    ref: Ref,
    patch: JsonObject,
    parts: PartsDep,
    response: Response,
    project_id: Project = DEFAULT_PROJECT,
    if_match: IfMatch = None,
    actor: Actor = ANONYMOUS,
) -> StoredSchedule:
    row = await parts.schedules.patch(ref, project_id, patch, if_match=if_match, actor=actor)
    return await _answer(row, parts, response)


@router.delete("/{ref}", status_code=204, summary="Delete a schedule", responses=problems(404, 412, 503))
async def delete_schedule(
    ref: Ref, parts: PartsDep, project_id: Project = DEFAULT_PROJECT, if_match: IfMatch = None
) -> None:
    """Runs that it started go on."""
    await parts.schedules.delete(ref, project_id, if_match=if_match)


@router.post(
    "/{ref}/trigger",
    status_code=202,
    summary="Run it now, also when it is paused",
    responses=problems(404, 409, 415, 422, 503),
    response_model_exclude_unset=True,
)
async def trigger_schedule(
    ref: Ref,
    parts: PartsDep,
    response: Response,
    body: TriggerSchedule = _TRIGGER,
    project_id: Project = DEFAULT_PROJECT,
    idempotency_key: IdempotencyKey = None,
) -> TriggeredSchedule:
    """The answer names the run. 409 when the run before has not ended and the overlap policy lets no other start."""
    row, found = await parts.schedules.trigger(ref, project_id, body.overlap, idempotency_key)
    shown = await _answer(row, parts, response)
    return TriggeredSchedule(**shown.model_dump(exclude_unset=True), run_id=found.run_id, waits_for=found.waits_for)


@router.post(
    "/{ref}/pause",
    summary="Start no further run",
    responses=problems(404, 415, 422, 503),
    response_model_exclude_unset=True,
)
async def pause_schedule(
    ref: Ref,
    parts: PartsDep,
    response: Response,
    body: PauseSchedule = _PAUSE,
    project_id: Project = DEFAULT_PROJECT,
    actor: Actor = ANONYMOUS,
) -> StoredSchedule:
    """A run that is under way goes on. The document and its version stay what they are."""
    row = await parts.schedules.pause(ref, project_id, body.note or f"Paused by {actor[:_SHOWN_ACTOR]}.")
    return await _answer(row, parts, response)


@router.post(
    "/{ref}/resume",
    summary="Start runs again, from now on",
    responses=problems(404, 415, 422, 503),
    response_model_exclude_unset=True,
)
async def resume_schedule(
    ref: Ref,
    parts: PartsDep,
    response: Response,
    body: PauseSchedule = _PAUSE,
    project_id: Project = DEFAULT_PROJECT,
    actor: Actor = ANONYMOUS,
) -> StoredSchedule:
    """What would have run meanwhile is not made up for; `backfill` does that."""
    row = await parts.schedules.resume(ref, project_id, body.note or f"Resumed by {actor[:_SHOWN_ACTOR]}.")
    return await _answer(row, parts, response)


@router.post(
    "/{ref}/backfill",
    status_code=202,
    summary="Run for every moment of a window that is past",
    responses=problems(404, 415, 422, 503),
    response_model_exclude_unset=True,
)
async def backfill_schedule(
    ref: Ref,
    body: BackfillSchedule,
    parts: PartsDep,
    response: Response,
    project_id: Project = DEFAULT_PROJECT,
    idempotency_key: IdempotencyKey = None,
) -> StoredSchedule:
    """A run's `metadata.scheduled_at` says for which."""
    return await _answer(await parts.schedules.backfill(ref, project_id, body, idempotency_key), parts, response)


@router.get(
    "/{ref}/versions",
    summary="List a schedule's versions, newest first",
    responses=problems(404, 422),
    response_model_exclude_unset=True,
)
async def list_schedule_versions(
    ref: Ref,
    session: ReadSessionDep,
    project_id: Project = DEFAULT_PROJECT,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[ScheduleVersion]:
    items, more = await version_page(session, "schedule", ref, project_id, limit=limit, cursor=cursor)
    return Page(items=[ScheduleVersion.model_validate(item) for item in items], next_cursor=more)


@router.get(
    "/{ref}/versions/{version}",
    summary="Read one version of a schedule",
    responses=problems(404),
    response_model_exclude_unset=True,
)
async def get_schedule_version(
    ref: Ref,
    version: Annotated[int, Path(ge=1, le=2**31 - 1)],
    session: ReadSessionDep,
    project_id: Project = DEFAULT_PROJECT,
) -> ScheduleVersion:
    row, found = await definitions.get_definition_version(session, "schedule", ref, project_id, version)
    return ScheduleVersion.model_validate(version_resource(row, found))


async def _answer(row: DefinitionRow, parts: PartsDep, response: Response) -> StoredSchedule:
    response.headers["ETag"] = definitions.definition_etag(row)
    return await parts.schedules.shown(row)
