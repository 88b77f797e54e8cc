"""The workflow engine's API: definitions, runs and their events."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from api.agents import endpoints as agents
from api.apply import endpoints as documents
from api.database_faults import add_database_handlers
from api.deps import Parts
from api.runs import endpoints as runs
from api.runs import events, steering_endpoints, websocket
from api.runs.executions import Executions
from api.runs.hub import EventHub
from api.runs.service import RunService
from api.runs.steering import Steering
from api.settings import ApiSettings
from api.workflows import endpoints as workflows
from studio.clients.prompts import PromptClient
from studio.db.engine import open_database
from studio.db.migrate import check_schema
from studio.store.event_stream import EventStream
from studio.temporal import connect_temporal
from studio.web.app import create_base_app
from studio.web.health import Check

DESCRIPTION = """Agents and workflows, declared as documents and run durably on Temporal.

`project_id` scopes and filters; it is not a security boundary. Put a gateway in front for authentication.
"""


def create_app(settings: ApiSettings) -> FastAPI:
    """Needs a migrated database (`studio migrate`); starts while any dependency is down, and says so in readiness."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            app.state.parts = await _open(settings, stack)
            yield

    app = create_base_app(
        service="api",
        title="AI Studio workflow engine",
        description=DESCRIPTION,
        settings=settings,
        lifespan=lifespan,
        checks=_checks,
    )
    add_database_handlers(app)
    for part in (documents, agents, workflows, runs, steering_endpoints, events, websocket):
        app.include_router(part.router)
    return app


async def _open(settings: ApiSettings, stack: AsyncExitStack) -> Parts:
    database = open_database(settings)
    stack.push_async_callback(database.close)
    temporal = await connect_temporal(settings, database)
    stream = await stack.enter_async_context(EventStream(settings.redis_url))
    prompts = await stack.enter_async_context(PromptClient(settings.prompt_url))
    executions = Executions(temporal, settings.temporal_task_queue)
    run_service = RunService(database, executions, stream, ui_root=settings.temporal_ui_root())
    steering = Steering(run_service, executions)
    hub = EventHub(stream, run_service.refreshed)
    stack.push_async_callback(hub.close)
    return Parts(settings, database, executions, stream, prompts, run_service, steering, hub)


def _checks(app: FastAPI) -> Mapping[str, Check]:
    parts: Parts = app.state.parts
    return {
        "database": lambda: check_schema(parts.database),
        "temporal": parts.executions.check,
        "redis": parts.stream.check,
    }
