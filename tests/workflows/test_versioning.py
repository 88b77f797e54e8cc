"""Two builds of the worker beside each other: a run stays on the build that began it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import RoutingConfigUpdateState
from temporalio.api.workflowservice.v1 import (
    DescribeWorkerDeploymentRequest,
    SetWorkerDeploymentCurrentVersionRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities.worker import open_worker
from cli.stack.deployment import deployment_state, described
from cli.stack.parts import plain_connect
from studio.contracts.base import JsonObject
from tests.support.databases import sqlite_database
from tests.support.platform import Engine, open_engine, scripted_llm_engine, worker_settings
from tests.support.span_sink import SpanSink
from workflows.names import child_workflow_id

STEPS: list[JsonObject] = [{"id": "hold", "wait": {"signal": "go"}}, {"id": "send", "workflow": "letter"}]
CHILD: JsonObject = {"pattern": "sequential", "steps": [{"id": "write", "agent": {}}]}


@pytest.fixture
async def engine(tmp_path: Path, temporal_address: str, redis_url: str) -> AsyncGenerator[Engine, None]:
    async with SpanSink() as spans, scripted_llm_engine(spans.url) as (llm_url, upstream):
        settings = worker_settings(
            tmp_path,
            temporal_address=temporal_address,
            redis_url=redis_url,
            database_url=sqlite_database(tmp_path),
            llm_url=llm_url,
            prompt_url=spans.url,
        )
        async with open_engine(settings, upstream, spans, worker=False) as running:
            yield running


@asynccontextmanager
async def build(engine: Engine, build_id: str) -> AsyncGenerator[None]:
    """A worker of this build; the deployment has the task queue's name."""
    queue = engine.settings.temporal_task_queue
    settings = engine.settings.model_copy(update={"worker_deployment": queue, "worker_build_id": build_id})
    async with open_worker(settings) as worker, worker:
        yield


async def make_current(engine: Engine, build_id: str) -> None:
    """As `temporal worker deployment set-current-version` does, once the build's worker polls."""
    service, name = engine.client.workflow_service, engine.settings.temporal_task_queue
    change = SetWorkerDeploymentCurrentVersionRequest(namespace="default", deployment_name=name, build_id=build_id)
    while True:
        try:
            await service.set_worker_deployment_current_version(change)
            break
        except RPCError as error:
            if error.status not in {RPCStatusCode.NOT_FOUND, RPCStatusCode.FAILED_PRECONDITION}:
                raise
            await asyncio.sleep(0.05)
    asked = DescribeWorkerDeploymentRequest(namespace="default", deployment_name=name)
    while True:
        found = (await service.describe_worker_deployment(asked)).worker_deployment_info
        if found.routing_config_update_state != RoutingConfigUpdateState.ROUTING_CONFIG_UPDATE_STATE_IN_PROGRESS:
            return
        await asyncio.sleep(0.05)


async def builds_of(client: Client, workflow_id: str) -> set[str]:
    """The builds that carried the workflow out."""
    history = await client.get_workflow_handle(workflow_id).fetch_history()
    tasks = [event.workflow_task_completed_event_attributes for event in history.events]
    return {task.deployment_version.build_id for task in tasks if task.HasField("deployment_version")}


async def start(engine: Engine) -> str:
    """A run that waits for `go`."""
    handle = await engine.start(STEPS, workflows={"letter": CHILD})
    async with asyncio.timeout(30):
        while not any(  # noqa: ASYNC110 - Redis has no event to wait for
            event.type == "step.waiting" for event in await engine.events(handle.id)
        ):
            await asyncio.sleep(0.05)
    return handle.id


async def finish(engine: Engine, run_id: str) -> None:
    handle = engine.client.get_workflow_handle(run_id)
    await handle.signal("go", None)
    assert await handle.result() == "Hello from the script."


class TestTwoBuilds:
    async def test_a_run_ends_on_the_build_that_began_it_and_new_runs_go_to_the_current_one(
        self, engine: Engine
    ) -> None:
        async with AsyncExitStack() as first:
            await first.enter_async_context(build(engine, "build-1"))
            await make_current(engine, "build-1")
            old = await start(engine)
            async with build(engine, "build-2"):
                await make_current(engine, "build-2")
                new = await start(engine)
                await first.aclose()  # build 1 goes away with a run of its own open, and comes again
                await finish(engine, new)
                async with build(engine, "build-1"):
                    await finish(engine, old)
        for run_id, expected in ((old, "build-1"), (new, "build-2")):
            assert await builds_of(engine.client, run_id) == {expected}
            assert await builds_of(engine.client, child_workflow_id(run_id, "send")) == {expected}
        connect = plain_connect(engine.settings.temporal_address)
        state = await deployment_state(connect, "default", engine.settings.temporal_task_queue)
        assert state is not None
        assert "build build-2 is current" in described(state)
