"""The worker: every workflow, and the activities of the task queue `studio`.

The one module that knows both: a worker is where they meet.
"""

import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import (
    PollerBehaviorAutoscaling,
    ResourceBasedSlotConfig,
    UnsandboxedWorkflowRunner,
    Worker,
    WorkerDeploymentConfig,
    WorkerTuner,
)

from activities.cleaning import Cleaner
from activities.maintenance import MaintenanceActivities
from activities.missing import MissingArguments, StuckRuns
from activities.registry import build_activities
from activities.settings import WorkerSettings
from studio.clients.llm import LlmClient
from studio.clients.prompts import PromptClient
from studio.db.engine import open_database
from studio.store.answers import AnswerCache
from studio.store.blobs import open_blobs
from studio.store.event_stream import EventStream
from studio.temporal import connect_temporal
from studio.tracing import SpanSender
from workflows.registry import WORKFLOWS

HEARTBEAT_THROTTLE_SECONDS = 1.0
"""How often heartbeats reach the server, and so how soon a cancel reaches an activity."""
TAKE_OVER_SECONDS = 3
"""How long the server waits for the worker that holds a run in memory before it asks any: so long runs stand when that
worker is killed. Shorter, and a worker that is only busy would replay runs that it has at hand.
"""


WORKFLOW_TASK_SECONDS = 6
"""How long a workflow task may compute before the SDK takes it for a deadlock and fails it. What it does is counted in
steps, which take longer while others share the interpreter; failed for that, it would be done again and again. The
server's own limit is ten seconds. See docs/decisions/0019.
"""


def build_worker(client: Client, settings: WorkerSettings, activities: Sequence[Callable[..., Any]]) -> Worker:
    deployment = _deployment(settings)
    pollers = PollerBehaviorAutoscaling(maximum=settings.worker_max_pollers)
    worker = Worker(
        client,
        task_queue=settings.temporal_task_queue,
        workflows=WORKFLOWS,
        activities=activities,
        interceptors=[MissingArguments()],
        # The tests run workflows in the sandbox (docs/decisions/0007): here it would import them anew for each run.
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_cached_workflows=settings.worker_max_cached_runs,
        tuner=_tuner(settings),
        workflow_task_poller_behavior=pollers,
        activity_task_poller_behavior=pollers,
        deployment_config=deployment,
        # Else the SDK reads all modules to name the build, which takes about a second.
        build_id=None if deployment else "unversioned",
        max_heartbeat_throttle_interval=timedelta(seconds=HEARTBEAT_THROTTLE_SECONDS),
        default_heartbeat_throttle_interval=timedelta(seconds=HEARTBEAT_THROTTLE_SECONDS),
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=TAKE_OVER_SECONDS),
        graceful_shutdown_timeout=timedelta(seconds=settings.worker_drain_seconds),
    )
    workflow_worker = worker._workflow_worker  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - no option sets it
    if workflow_worker is not None:
        workflow_worker._deadlock_timeout_seconds = WORKFLOW_TASK_SECONDS  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    return worker


def _tuner(settings: WorkerSettings) -> WorkerTuner:
    if settings.worker_tuner == "fixed":
        return WorkerTuner.create_fixed(
            workflow_slots=settings.worker_max_workflow_tasks, activity_slots=settings.worker_max_activities
        )
    return WorkerTuner.create_resource_based(
        target_memory_usage=settings.worker_target_memory,
        target_cpu_usage=settings.worker_target_cpu,
        workflow_config=ResourceBasedSlotConfig(maximum_slots=settings.worker_max_workflow_tasks),
        activity_config=ResourceBasedSlotConfig(maximum_slots=settings.worker_max_activities),
    )


def _deployment(settings: WorkerSettings) -> WorkerDeploymentConfig | None:
    """A run stays on the build that started it: its code may change from one build to the next."""
    if settings.worker_deployment is None or settings.worker_build_id is None:
        return None
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(settings.worker_deployment, settings.worker_build_id),
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.PINNED,
    )


@asynccontextmanager
async def open_worker(settings: WorkerSettings) -> AsyncGenerator[Worker, None]:
    """A worker with everything that it needs, not yet started."""
    database = open_database(settings)
    try:
        stuck = StuckRuns(database)
        client = await connect_temporal(settings, database, lazy=False, on_missing=stuck.watch)
        stuck.use(client)
        async with (
            EventStream(settings.redis_url) as stream,
            AnswerCache(settings.redis_url) as answers,
            LlmClient(settings.llm_url) as llm,
            PromptClient(settings.prompt_url) as prompts,
            SpanSender(settings.prompt_url, content=settings.trace_content == "on") as spans,
            contextlib.aclosing(stuck),
        ):
            cleaner = Cleaner(database, stream, open_blobs(settings, database), client)
            maintenance = MaintenanceActivities(cleaner, settings.run_retention_days)
            activities = build_activities(database, stream, answers, llm, prompts, spans)
            yield build_worker(client, settings, [*activities, maintenance.clean_up])
    finally:
        await database.close()
