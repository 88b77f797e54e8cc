"""Runs of many steps on a real Temporal server; the model is a stub activity that says what it was given."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import Client

from activities.worker import build_worker
from studio.contracts.activities import CompletionRequest, CompletionResult, RecordEndRequest
from studio.contracts.base import JsonObject
from studio.contracts.definitions import ResolvedDefinition, parse_workflow
from studio.contracts.ids import IdPrefix, new_id, new_span_id, new_trace_id
from studio.contracts.runs import RunContext, RunEnd, RunRequest, RunUsage, StepRun
from studio.db.engine import Database
from studio.db.migrate import migrate_database
from studio.temporal import connect_temporal
from tests.support.platform import worker_settings
from workflows.patterns import SequentialWorkflow

LAYERS, WIDTH, EDGES = 40, 25, 3000
TALKER, TURN_BYTES = "talker", 8_000
"""A model that answers with what it was given and this much more: 2,000 tokens a turn."""
MAX_HISTORY_BYTES = 5_000_000


@dataclass
class Runner:
    client: Client
    task_queue: str
    ends: dict[str, RunEnd] = field(default_factory=dict[str, RunEnd])

    async def run(self, step: JsonObject) -> tuple[Any, dict[str, StepRun]]:
        """The result of a run of one step, and how its steps ended."""
        document = {"name": "large", "pattern": "sequential", "steps": [step]}
        definition = ResolvedDefinition(workflow=parse_workflow(document), agents={})
        context = RunContext(
            run_id=new_id(IdPrefix.RUN),
            project_id="default",
            workflow_name="large",
            workflow_version=1,
            trace_id=new_trace_id(),
        )
        request = RunRequest(context=context, root_span_id=new_span_id())
        result = await self.client.execute_workflow(
            SequentialWorkflow.run, args=[request, definition, None], id=context.run_id, task_queue=self.task_queue
        )
        return result, {step.id: step for step in self.ends[context.run_id].progress.steps}

    async def history_bytes(self, run_id: str) -> int:
        found = await self.client.get_workflow_handle(run_id).describe()
        return found.raw_description.workflow_execution_info.history_size_bytes

    @activity.defn(name="record_end")
    async def record_end(self, request: RecordEndRequest) -> None:
        self.ends[request.run.run_id] = request.end


@activity.defn(name="complete_chat")
async def complete_chat(request: CompletionRequest) -> CompletionResult:
    given = request.opening.input if request.opening is not None else None
    # As hex, so that compression does not make it small.
    said = Random(str(given)[-64:]).randbytes(TURN_BYTES // 2).hex() if request.model == TALKER else ""
    return CompletionResult(length=2, text=f"{given}{said}", attempt=request.step.attempts_before + 1, usage=RunUsage())


@pytest.fixture
async def runner(tmp_path: Path, temporal_address: str) -> AsyncGenerator[Runner, None]:
    nowhere = "redis://127.0.0.1:1"  # the stubs publish nothing
    settings = worker_settings(tmp_path, temporal_address=temporal_address, redis_url=nowhere)
    database = Database(settings.resolved_database_url())
    await migrate_database(database)
    try:
        client = await connect_temporal(settings, database, lazy=False)
        running = Runner(client, settings.temporal_task_queue)
        async with build_worker(client, settings, [complete_chat, running.record_end]):
            yield running
    finally:
        await database.close()


def ask(step_id: str, given: Any) -> JsonObject:
    return {"id": step_id, "agent": {}, "input": given}


class TestLarge:
    async def test_a_map_over_two_hundred_items_never_has_more_open_than_it_may(self, runner: Runner) -> None:
        block = {"for_each": list(range(200)), "do": ask("one", "${{ item * 2 }}"), "max_concurrency": 20}
        result, steps = await runner.run({"id": "map", "parallel": block})
        assert result == [str(2 * number) for number in range(200)]
        moments = [(step.started_at, 1) for step in steps.values() if step.kind == "agent"]
        moments += [(step.ended_at, -1) for step in steps.values() if step.kind == "agent"]
        open_now, most = 0, 0
        for _, change in sorted(moments, key=lambda one: (str(one[0]), one[1])):  # ends before starts
            open_now += change
            most = max(most, open_now)
        assert most == 20

    async def test_a_loop_of_three_hundred_rounds(self, runner: Runner) -> None:
        block = {"do": [ask("one", "${{ iteration }}")], "until": "${{ last == '299' }}", "max_iterations": 1000}
        result, steps = await runner.run({"id": "loop", "loop": block})
        assert result == "299"
        assert [step.output for step in steps.values() if step.kind == "agent"] == [str(n) for n in range(300)]

    async def test_a_conversation_that_grows_to_two_hundred_thousand_tokens(self, runner: Runner) -> None:
        talk = {"id": "talk", "agent": {"model": TALKER}, "input": "${{ last == null ? 'Hello. ' : last }}"}
        block = {"do": [talk], "until": "${{ iteration == 99 }}", "max_iterations": 100}
        result, steps = await runner.run({"id": "loop", "loop": block})
        assert len(result) == len("Hello. ") + 100 * TURN_BYTES
        assert [step.status for step in steps.values()] == ["succeeded"] * 101
        (run_id,) = runner.ends
        assert await runner.history_bytes(run_id) < MAX_HISTORY_BYTES

    async def test_a_graph_of_a_thousand_nodes_starts_each_after_all_before_it(self, runner: Runner) -> None:
        edges = layered_edges()
        nodes = [ask(f"n{number}", number) for number in range(LAYERS * WIDTH)]
        block = {"nodes": nodes, "edges": [{"from": f"n{one}", "to": f"n{other}"} for one, other in edges]}
        result, steps = await runner.run({"id": "g", "graph": block})
        leading = {source for source, _ in edges}
        assert result == {f"n{one}": str(one) for one in range(LAYERS * WIDTH) if one not in leading}
        assert [step.status for step in steps.values()] == ["succeeded"] * (LAYERS * WIDTH + 1)
        for source, target in edges:
            ended, started = steps[f"g/n{source}"].ended_at, steps[f"g/n{target}"].started_at
            assert ended is not None
            assert started is not None
            assert ended <= started


def layered_edges() -> list[tuple[int, int]]:
    """From each layer to the next, in a fixed order; at least one into each node."""
    random = Random(1)

    def before(target: int) -> tuple[int, int]:
        return ((target // WIDTH - 1) * WIDTH + random.randrange(WIDTH), target)

    edges = dict.fromkeys(before(target) for target in range(WIDTH, LAYERS * WIDTH))
    while len(edges) < EDGES:
        edges[before(random.randrange(WIDTH, LAYERS * WIDTH))] = None
    return list(edges)
