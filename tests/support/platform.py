"""The engine in one process: a worker and the LLM engine on a scripted upstream, over real Temporal, Redis and SQL."""

import asyncio
import base64
import os
import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from sqlalchemy import update
from temporalio.client import Client, WorkflowHandle

from activities.settings import WorkerSettings
from activities.worker import open_worker
from llm_service import app as llm_app
from llm_service.settings import LlmSettings, UpstreamConfig
from studio.contracts.agents import AgentSpec
from studio.contracts.base import Json, JsonObject, utc_now
from studio.contracts.definitions import ResolvedAgent, ResolvedDefinition, ResolvedWorkflow, parse_workflow
from studio.contracts.events import RunEvent
from studio.contracts.ids import IdPrefix, new_id, new_span_id, new_trace_id
from studio.contracts.runs import Resumption, Run, RunContext, RunRequest, StepRun
from studio.db.engine import Database
from studio.db.tables import RunRow
from studio.engine.plan import compile_plan
from studio.engine.reruns import plan_rerun
from studio.store.event_stream import EventStream
from studio.store.runs import get_run, insert_run, to_run
from studio.temporal import connect_temporal
from tests.support.asgi_server import serving
from tests.support.databases import migrate_new
from tests.support.scripted_upstream import ScriptedUpstream
from tests.support.span_sink import SpanSink


def new_secret_key() -> SecretStr:
    return SecretStr(base64.b64encode(os.urandom(32)).decode())


@dataclass
class Engine:
    """Starts runs without the API, and reads what they left."""

    settings: WorkerSettings
    database: Database
    client: Client
    stream: EventStream
    upstream: ScriptedUpstream
    spans: SpanSink
    started: dict[str, tuple[str, RunRequest, ResolvedDefinition]] = field(
        default_factory=dict[str, "tuple[str, RunRequest, ResolvedDefinition]"]
    )
    """By the run's id: the workflow's type and its arguments."""

    async def start(
        self,
        steps: Sequence[JsonObject],
        given: Json = None,
        *,
        agents: dict[str, JsonObject] | None = None,
        workflows: dict[str, JsonObject] | None = None,
        **fields: Json,
    ) -> WorkflowHandle[Any, Any]:
        """`workflows` are those that steps run as children: the fields of each beside its name."""
        document = {"pattern": "sequential", "steps": list(steps), **fields}
        return await self.start_document(document, given, agents=agents, workflows=workflows)

    async def start_document(
        self,
        document: JsonObject,
        given: Json = None,
        *,
        agents: dict[str, JsonObject] | None = None,
        workflows: dict[str, JsonObject] | None = None,
        workflow_type: str = "SequentialWorkflow",
    ) -> WorkflowHandle[Any, Any]:
        """`document` is a workflow of any pattern without its name."""
        definition = ResolvedDefinition(
            workflow=parse_workflow({"name": "test", **document}),
            agents={
                name: ResolvedAgent(name=name, version=1, spec=AgentSpec.model_validate(spec))
                for name, spec in (agents or {}).items()
            },
            workflows={
                name: ResolvedWorkflow(name=name, version=1, workflow=parse_workflow({"name": name, **fields}))
                for name, fields in (workflows or {}).items()
            },
        )
        context = RunContext(
            run_id=new_id(IdPrefix.RUN),
            project_id="default",
            workflow_name="test",
            workflow_version=1,
            trace_id=new_trace_id(),
        )
        async with self.database.write() as session:
            await insert_run(session, _row(context, given))
        request = RunRequest(context=context, root_span_id=new_span_id(), input=given)
        return await self._execute(workflow_type, request, definition)

    async def _execute(
        self, workflow_type: str, request: RunRequest, definition: ResolvedDefinition
    ) -> WorkflowHandle[Any, Any]:
        run_id = request.context.run_id
        self.started[run_id] = (workflow_type, request, definition)
        return await self.client.start_workflow(
            workflow_type,
            args=[request, definition, None],
            id=run_id,
            task_queue=self.settings.temporal_task_queue,
        )

    async def retry(
        self, run_id: str, steps: Sequence[StepRun] | None = None, **options: Any
    ) -> WorkflowHandle[Any, Any]:
        """The run's next execution, with the options of `plan_rerun`; `steps` are the row's unless given."""
        workflow_type, request, definition = self.started[run_id]
        run = await self.run(run_id)
        rerun = plan_rerun(compile_plan(definition.workflow), run.steps if steps is None else steps, **options)
        resume = Resumption(
            steps=rerun.steps,
            kept=rerun.kept,
            inputs=options.get("inputs", {}),
            usage=run.usage,
            cost_usd=run.cost_usd,
        )
        context = request.context.model_copy(update={"retry": request.context.retry + 1})
        async with self.database.write() as session:
            changes = {"status": "queued", "retry_count": context.retry, "ended_at": None}
            await session.execute(update(RunRow).where(RunRow.id == run_id).values(**changes))
        return await self._execute(
            workflow_type, request.model_copy(update={"context": context, "resume": resume}), definition
        )

    async def run(self, run_id: str) -> Run:
        async with self.database.read() as session:
            row = await get_run(session, run_id)
        assert row is not None
        return to_run(row)

    async def events(self, run_id: str) -> list[RunEvent]:
        return await self.stream.read(run_id)


def _row(context: RunContext, given: Json) -> RunRow:
    return RunRow(
        id=context.run_id,
        kind="workflow",
        project_id="default",
        definition_id="wf_test",
        definition_name="test",
        definition_version=1,
        pattern="sequential",
        status="queued",
        input=given,
        run_metadata={},
        trace_id=context.trace_id,
        created_at=utc_now(),
    )


def worker_settings(folder: Path, *, temporal_address: str, redis_url: str, **overrides: Any) -> WorkerSettings:
    """A task queue and a database of the test's own."""
    values: dict[str, Any] = {
        "data_dir": folder,
        "temporal_address": temporal_address,
        "redis_url": redis_url,
        "temporal_task_queue": new_id(IdPrefix.RUN),
        "secret_keys": [new_secret_key()],
    }
    return WorkerSettings(**values | overrides)


@asynccontextmanager
async def scripted_llm_engine(prompt_url: str, **settings: Any) -> AsyncGenerator[tuple[str, ScriptedUpstream], None]:
    """An LLM engine whose model `default` is a script; scripted calls cost a dollar for a million tokens."""
    async with ScriptedUpstream() as upstream:
        config = UpstreamConfig.model_validate(
            {
                "name": "scripted",
                "base_url": upstream.url,
                "retries": 0,
                "prices": {"scripted": {"input_per_million": "1", "output_per_million": "1"}},
            }
        )
        values: dict[str, Any] = {"prompt_url": prompt_url, "model_aliases": {"default": "scripted/scripted"}}
        app = llm_app.create_app(LlmSettings(upstreams=[config], **values | settings))
        async with serving(app) as url:
            yield url, upstream


@asynccontextmanager
async def open_engine(
    settings: WorkerSettings, upstream: ScriptedUpstream, spans: SpanSink, *, worker: bool = True
) -> AsyncGenerator[Engine, None]:
    """A migrated database and, unless the test starts one as a process of its own, a running worker."""
    await migrate_new(settings.resolved_database_url())
    database = Database(settings.resolved_database_url())
    try:
        client = await connect_temporal(settings, database)
        async with EventStream(settings.redis_url) as stream, AsyncExitStack() as stack:
            if worker:
                await stack.enter_async_context(await stack.enter_async_context(open_worker(settings)))
            yield Engine(settings, database, client, stream, upstream, spans)
    finally:
        await database.close()


def worker_environment(settings: WorkerSettings) -> dict[str, str]:
    """The settings as `python -m activities` reads them."""
    values = settings.model_dump(exclude={"secret_keys", "allowed_hosts"}, exclude_none=True)
    values["secret_keys"] = ",".join(key.get_secret_value() for key in settings.secret_keys)
    return {f"STUDIO_{name.upper()}": str(value) for name, value in values.items()}


class WorkerProcess:
    """A worker as a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._logged = bytearray()
        self._changed = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stderr is not None
        while chunk := await self._process.stderr.read(65_536):
            self._logged += chunk
            self._changed.set()
        self._changed.set()

    async def logged(self, text: str) -> None:
        """Wait until the worker's log holds `text`."""
        while text.encode() not in self._logged:
            assert not self._reader.done(), self._logged.decode()
            await self._changed.wait()
            self._changed.clear()

    async def stop(self, number: signal.Signals) -> int:
        """Send a signal and wait for the end; returns the exit code."""
        self._process.send_signal(number)
        return await self.wait()

    async def wait(self) -> int:
        await self._reader
        return await self._process.wait()

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def close(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self.wait()


@asynccontextmanager
async def worker_process(settings: WorkerSettings) -> AsyncGenerator[WorkerProcess, None]:
    """Killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "activities",
        env={**os.environ, **worker_environment(settings)},  # noqa: TID251 - a child needs its parent's PATH
        stderr=asyncio.subprocess.PIPE,
    )
    worker = WorkerProcess(process)
    try:
        yield worker
    finally:
        await worker.close()
