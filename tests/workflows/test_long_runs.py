"""Continue-as-new, on a server that suggests it after a few dozen events: nobody notices."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle

from cli.stack import parts
from studio.contracts.base import JsonObject
from tests.support.databases import sqlite_database
from tests.support.platform import Engine, open_engine, scripted_llm_engine, worker_settings
from tests.support.ports import free_port
from tests.support.scripted_upstream import Reply
from tests.support.servers import running
from tests.support.span_sink import SpanSink

SUGGESTED_EVENTS = 60
ECHO: JsonObject = {"agent": {"message": "say {{ n }}"}}


@pytest.fixture(scope="module")
def hasty_temporal(server_logs: Path) -> Iterator[str]:
    part = parts.temporal(free_port(), None, None)
    flag = f"limit.historyCount.suggestContinueAsNew={SUGGESTED_EVENTS}"
    hasty = replace(part, command=(*part.command, "--dynamic-config-value", flag))
    with running(hasty, server_logs / "hasty-temporal.log") as started:
        yield started.address


@pytest.fixture
async def hasty(tmp_path: Path, hasty_temporal: str, redis_url: str) -> AsyncGenerator[Engine]:
    async with SpanSink() as spans, scripted_llm_engine(spans.url) as (llm_url, upstream):
        settings = worker_settings(
            tmp_path,
            temporal_address=hasty_temporal,
            redis_url=redis_url,
            database_url=sqlite_database(tmp_path),
            llm_url=llm_url,
            prompt_url=spans.url,
        )
        async with open_engine(settings, upstream, spans) as engine:
            yield engine


async def assert_continued(handle: WorkflowHandle[Any, Any]) -> None:
    assert (await handle.describe()).run_id != handle.first_execution_run_id


async def assert_told_once(engine: Engine, run_id: str, steps: int) -> None:
    """Each step's start and end is on the stream once, between the run's."""
    told = [(event.type, event.step_id) for event in await engine.events(run_id)]
    counts = Counter(kind for kind, _ in told)
    assert told[-1] == ("run.succeeded", None)
    assert (counts["run.started"], counts["step.started"], counts["step.succeeded"]) == (1, steps, steps)


def ask(step_id: str, number: int) -> JsonObject:
    return {"id": step_id, **ECHO, "input": {"n": number}}


class TestContinuedRuns:
    async def test_a_long_sequence_asks_each_once(self, hasty: Engine) -> None:
        handle = await hasty.start([ask(f"s{number}", number) for number in range(50)])
        assert await handle.result() == "Hello from the script."
        await assert_continued(handle)
        assert len(hasty.upstream.calls) == 50
        await assert_told_once(hasty, handle.id, 50)

    async def test_a_wide_map_keeps_its_window_and_order(self, hasty: Engine) -> None:
        do: JsonObject = {"id": "one", **ECHO, "input": {"n": "${{ item }}"}}
        for number in range(40):
            hasty.upstream.when(f"say {number}!", Reply(text=f"r{number}"))
        block = {"for_each": [f"{number}!" for number in range(40)], "do": do, "max_concurrency": 7}
        handle = await hasty.start([{"id": "m", "parallel": block}])
        assert await handle.result() == [f"r{number}" for number in range(40)]
        await assert_continued(handle)
        await assert_told_once(hasty, handle.id, 41)

    async def test_a_loop_goes_on_with_its_round_and_what_it_had(self, hasty: Engine) -> None:
        add = {"id": "add", "transform": "${{ last == null ? 1 : last + 1 }}"}
        block = {"do": [ask("a", 0), add], "until": "${{ iteration == 29 }}"}
        handle = await hasty.start([{"id": "l", "loop": block}])
        assert await handle.result() == 30
        await assert_continued(handle)

    async def test_timers_and_signals_survive(self, hasty: Engine) -> None:
        rounds = {"id": "l", "loop": {"do": [ask("a", 0)], "until": "${{ iteration == 20 }}"}}
        pause = {"id": "w", "wait": {"for": "3s"}}
        both = {"id": "p", "parallel": {"branches": [rounds, pause]}}
        hear = [{"id": name, "wait": {"signal": "go"}} for name in ("h", "i")]
        handle = await hasty.start([both, *hear])
        await handle.signal("go", 1)
        while (await handle.describe()).run_id == handle.first_execution_run_id:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)
        await hasty.client.get_workflow_handle(handle.id).signal("go", 2)
        assert await handle.result() == 2
        run = await hasty.run(handle.id)
        took = {step.id: step.duration_ms or 0 for step in run.steps}
        assert 2_900 <= took["p/w"] <= 10_000
        assert run.steps[-2].output == 1

    async def test_a_child_continues_and_its_parent_gets_the_whole(self, hasty: Engine) -> None:
        inner: JsonObject = {"pattern": "sequential", "steps": [ask(f"s{number}", number) for number in range(20)]}
        steps: list[JsonObject] = [{"id": "c", "workflow": "inner"}, ask("last", 1)]
        handle = await hasty.start(steps, workflows={"inner": inner})
        await handle.result()
        run = await hasty.run(handle.id)
        assert [step.id for step in run.steps] == ["c", *(f"c/s{number}" for number in range(20)), "last"]
        assert run.usage.llm_calls == len(hasty.upstream.calls) == 21
        await assert_told_once(hasty, handle.id, 22)

    async def test_a_cancel_later_still_cleans_up(self, hasty: Engine) -> None:
        steps = [ask(f"s{number}", number) for number in range(20)]
        hasty.upstream.when("say 19", Reply(text="late", hold_after=0))
        ending: JsonObject = {"finally": [{"id": "f", "transform": "${{ error.type }}"}]}
        handle = await hasty.start(steps, **ending)
        await hasty.upstream.wait_for_calls(1, "held")
        await assert_continued(handle)
        await hasty.client.get_workflow_handle(handle.id).cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        run = await hasty.run(handle.id)
        assert (run.status, run.steps[-1].output) == ("cancelled", "cancelled")


class TestARetriedRun:
    async def test_it_continues_as_new_with_what_it_keeps(self, hasty: Engine) -> None:
        hasty.upstream.when("say 20.", Reply(status=400), Reply(text="fine"))
        steps: list[JsonObject] = [
            {"id": f"s{number}", "agent": {"message": "say {{ n }}."}, "input": {"n": number}} for number in range(50)
        ]
        handle = await hasty.start(steps)
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        again = await hasty.retry(handle.id)
        await again.result()
        await assert_continued(again)
        asked = Counter(str(call.body["messages"][-1]["content"]) for call in hasty.upstream.calls)
        assert asked == {f"say {number}.": 2 if number == 20 else 1 for number in range(50)}
        told = Counter((event.type, event.step_id, event.attempt) for event in await hasty.events(handle.id))
        assert {count for (kind, *_), count in told.items() if kind.startswith(("step.", "run."))} == {1}
        assert {step.status for step in (await hasty.run(handle.id)).steps} == {"succeeded"}
