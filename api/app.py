"""The workflow engine's API: definitions, runs and their events."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import APIRouter, FastAPI

from api.agents import endpoints as agents
from api.apply import endpoints as documents
from api.approvals import endpoints as approvals
from api.batches import endpoints as batches
from api.batches.executions import BatchExecutions
from api.batches.service import BatchService
from api.codec import endpoints as codec
from api.codec.cors import CodecCors, origins
from api.database_faults import add_database_handlers
from api.deps import Parts
from api.runs import endpoints as runs
from api.runs import events, rerun_endpoints, steering_endpoints, websocket
from api.runs.executions import Executions
from api.runs.hub import EventHub
from api.runs.launching import Launcher
from api.runs.mending import Mender
from api.runs.reruns import Reruns
from api.runs.service import RunService
from api.runs.stalls import Stalls
from api.runs.steering import Steering
from api.runs.sweep import Sweep
from api.schedules import endpoints as schedules
from api.schedules.reconciling import Reconciler
from api.schedules.service import Schedules
from api.schedules.temporal import TemporalSchedules
from api.settings import ApiSettings
from api.workflows import endpoints as workflows
from studio.clients.prompts import PromptClient
from studio.db.engine import open_database
from studio.db.migrate import check_database
from studio.store.blob_s3 import BLOB_STORE
from studio.store.blobs import open_blobs
from studio.store.event_stream import EventStream
from studio.temporal import connect_temporal
from studio.web.app import create_base_app
from studio.web.health import Check, Checks
from studio.web.openapi import operation_id
from studio.web.responses import JSONResponse

DESCRIPTION = """Agents and workflows, declared as documents and run durably on Temporal.

`project_id` scopes and filters; it is not a security boundary. Put a gateway in front for authentication.
"""

_LINKS = {
    "StoredAgent": "/api/v1/agents/{ref}",
    "StoredWorkflow": "/api/v1/workflows/{ref}",
    "StoredSchedule": "/api/v1/schedules/{ref}",
    "Run": "/api/v1/runs/{run_id}",
    "Batch": "/api/v1/batches/{batch_id}",
}


def _endpoints() -> APIRouter:
    router = APIRouter(default_response_class=JSONResponse, generate_unique_id_function=operation_id)
    definitions = (documents, agents, workflows, schedules)
    runs_and_more = (runs, rerun_endpoints, steering_endpoints, approvals, events, websocket, batches)
    for part in (*definitions, *runs_and_more, codec):
        router.include_router(part.router)
    return router


_ENDPOINTS = _endpoints()
"""FastAPI reads all signatures at the first request, which takes a while, and keeps what it found here."""


def create_app(settings: ApiSettings) -> FastAPI:
    """Needs a migrated database (`studio migrate`); starts while any dependency is down, and says so in readiness."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            app.state.parts = await _open(settings, stack)
            app.state.blobs = open_blobs(settings, app.state.parts.database)
            yield

    ui_url = settings.temporal_ui_url
    app = create_base_app(
        service="api",
        title="AI Studio workflow engine",
        description=DESCRIPTION,
        settings=settings,
        lifespan=lifespan,
        checks=_checks,
        pages={} if ui_url is None else {f"{codec.PREFIX}/": origins(ui_url)},
        links=_LINKS,
    )
    add_database_handlers(app)
    app.router.routes.extend(_ENDPOINTS.routes)
    if ui_url is not None:
        app.add_middleware(CodecCors, prefix=codec.PREFIX, ui_url=ui_url)
    return app


async def _open(settings: ApiSettings, stack: AsyncExitStack) -> Parts:
    database = open_database(settings)
    stack.push_async_callback(database.close)
    temporal = await connect_temporal(settings, database)
    stream = await stack.enter_async_context(EventStream(settings.redis_url))
    prompts = await stack.enter_async_context(PromptClient(settings.prompt_url))
    executions = Executions(temporal, settings.temporal_task_queue)
    launcher, mender = Launcher(database, executions, stream), Mender(database, executions, stream)
    stalls = Stalls(temporal, executions, stream)
    stack.push_async_callback(Sweep(database, executions, mender).close)
    ui_root = settings.temporal_ui_root()
    run_service = RunService(database, executions, launcher, mender, stalls, stream, ui_root=ui_root)
    reruns = Reruns(run_service, launcher, mender, database, executions, stream)
    steering = Steering(run_service, executions, database)
    stack.push_async_callback(steering.close)
    hub = EventHub(stream, run_service.refreshed)
    stack.push_async_callback(hub.close)
    kept = Schedules(database, TemporalSchedules(temporal, settings.temporal_task_queue))
    stack.push_async_callback(Reconciler(database, kept).close)
    starter = BatchExecutions(temporal, settings.temporal_task_queue, executions)
    return Parts(
        settings=settings,
        database=database,
        executions=executions,
        stream=stream,
        prompts=prompts,
        runs=run_service,
        reruns=reruns,
        steering=steering,
        events=hub,
        converter=temporal.data_converter,
        schedules=kept,
        batches=BatchService(database, starter, run_service, mender),
    )


def _checks(app: FastAPI) -> Checks:
    """Runs go on without Redis, and without the store of large payloads all that are small."""
    parts: Parts = app.state.parts
    useful: dict[str, Check] = {"redis": parts.stream.check}
    if parts.settings.blob_url:
        useful[BLOB_STORE] = app.state.blobs.check
    needed: dict[str, Check] = {
        "database": lambda: check_database(parts.database),
        "temporal": parts.executions.check,
    }
    return Checks(needed=needed, useful=useful)
