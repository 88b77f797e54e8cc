"""Generated definitions on a real Temporal server, compared with the reference model.

The model's order of the calls' ends is played back: a call gets its scripted result once just those calls are under way
that the model says are, and the workflow knows of all ends before. So no race decides what comes of a run.
"""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from studio.codec import StudioPayloadConverter
from studio.contracts.activities import CompletionRequest, CompletionResult, RecordEndRequest
from studio.contracts.agents import AgentSpec
from studio.contracts.base import Json
from studio.contracts.definitions import ResolvedAgent, ResolvedDefinition
from studio.contracts.ids import IdPrefix, new_id, new_span_id, new_trace_id
from studio.contracts.runs import RunContext, RunEnd, RunProgress, RunRequest, RunUsage
from tests.support.model.cases import Call, Case, RunOutcome
from tests.support.model.definitions import sample
from tests.support.model.reference import interpret
from workflows.names import PROGRESS
from workflows.patterns import SequentialWorkflow
from workflows.registry import WORKFLOWS

RUNS_AT_ONCE = 20
BEAT = timedelta(milliseconds=50)
"""How soon a cancel reaches a call."""
PATIENCE_SECONDS = 60
"""Of one run: a run that hangs fails the test."""
ENDED = {"succeeded", "failed", "cancelled"}


class Stage:
    """One run: its calls wait here for their cue."""

    def __init__(self) -> None:
        self.waiting: dict[str, asyncio.Future[Call]] = {}
        self.end: RunEnd | None = None
        self._changed = asyncio.Condition()

    async def cue(self, path: str) -> Call:
        """A call arrives; returns what it does when its cue comes."""
        if path in self.waiting:
            raise ApplicationError(f"{path} was called twice", type="internal_error", non_retryable=True)
        self.waiting[path] = asyncio.get_running_loop().create_future()
        await self._notify()
        try:
            while True:
                activity.heartbeat()
                done, _ = await asyncio.wait([self.waiting[path]], timeout=BEAT.total_seconds())
                if done:
                    return done.pop().result()
        finally:
            del self.waiting[path]
            await asyncio.shield(self._notify())

    async def until(self, paths: set[str]) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self.waiting.keys() == paths)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


class Theatre:
    """The activities, which know each run's stage by its id."""

    def __init__(self) -> None:
        self.stages: dict[str, Stage] = {}

    @activity.defn
    async def complete_chat(self, request: CompletionRequest) -> CompletionResult:
        call = await self.stages[activity.info().workflow_id or ""].cue(request.step.path)
        if call.error is not None:
            benign = ApplicationErrorCategory.BENIGN
            raise ApplicationError("broke", type=call.error, non_retryable=True, category=benign)
        text = call.output if isinstance(call.output, str) else json.dumps(call.output)
        return CompletionResult(length=2, text=text, attempt=1, usage=RunUsage())

    @activity.defn
    async def record_end(self, request: RecordEndRequest) -> None:
        self.stages[request.run.run_id].end = request.end


async def play(client: Client, queue: str, theatre: Theatre, case: Case) -> tuple[RunOutcome, RunEnd]:
    """What the model says of a case, and how its run ended."""
    expected = interpret(case)
    stage = Stage()
    run_id = new_id(IdPrefix.RUN)
    theatre.stages[run_id] = stage
    handle = await client.start_workflow(
        SequentialWorkflow.run, args=_arguments(case, run_id), id=run_id, task_queue=queue
    )
    cues = [(call.ended, call.path, call.call) for call in expected.calls if not call.stopped and call.ended]
    moments: list[tuple[int, str | None, Call | None]] = [*cues]
    if case.cancel_at is not None and case.cancel_at <= expected.ended:
        moments.append((case.cancel_at, None, None))
    for at, path, call in sorted(moments, key=lambda moment: moment[0]):
        await stage.until({other.path for other in expected.calls if other.started < at <= other.ended})
        await _known(handle, {other.path for other in expected.calls if other.ended < at})
        if path is None or call is None:
            await handle.cancel()
        else:
            stage.waiting[path].set_result(call)
    with suppress(WorkflowFailureError):
        await handle.result()
    assert stage.end is not None
    return expected, stage.end


async def _known(handle: WorkflowHandle[Any, Any], paths: set[str]) -> None:
    """Wait until the workflow knows of the ends of all these calls: their steps have ended, or what catches their
    errors has begun.
    """
    while paths:
        progress: RunProgress = await handle.query(PROGRESS, result_type=RunProgress)
        caught = {path for path in paths for step in progress.steps if step.id.startswith(f"{path}/")}
        paths = paths - {step.id for step in progress.steps if step.status in ENDED} - caught


def _arguments(case: Case, run_id: str) -> Sequence[Json]:
    agents = {"writer": ResolvedAgent(name="writer", version=1, spec=AgentSpec())}
    context = RunContext(
        run_id=run_id, project_id="default", workflow_name="any", workflow_version=1, trace_id=new_trace_id()
    )
    request = RunRequest(context=context, root_span_id=new_span_id())
    return [request, ResolvedDefinition(workflow=case.definition, agents=agents), None]


class TestAnyDefinition:
    async def test_fifty_come_to_what_the_model_says(self, temporal_address: str) -> None:
        converter = DataConverter(payload_converter_class=StudioPayloadConverter)
        client = await Client.connect(temporal_address, data_converter=converter)
        theatre, queue = Theatre(), new_id(IdPrefix.RUN)
        worker = Worker(
            client,
            task_queue=queue,
            workflows=WORKFLOWS,
            activities=[theatre.complete_chat, theatre.record_end],
            workflow_runner=UnsandboxedWorkflowRunner(),
            max_concurrent_workflow_tasks=10,  # they share the interpreter, and none may take two seconds
            max_heartbeat_throttle_interval=BEAT,
            default_heartbeat_throttle_interval=BEAT,
        )
        free = asyncio.Semaphore(RUNS_AT_ONCE)

        async def check(case: Case) -> None:
            async with free, asyncio.timeout(PATIENCE_SECONDS):
                expected, end = await play(client, queue, theatre, case)
            error = None if end.error is None else (end.error.type, end.error.step_id)
            assert (end.status, end.output, error) == (expected.status, expected.output, expected.error), case
            found = {step.id: (step.status, step.output) for step in end.progress.steps}
            assert found == {path: (step.status, step.output) for path, step in expected.steps.items()}, case

        async with worker, asyncio.TaskGroup() as group:
            for case in sample(50):
                group.create_task(check(case))
