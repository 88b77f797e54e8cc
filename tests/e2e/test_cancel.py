"""A cancel reaches whatever a run is doing: the provider's connection closes, and nothing follows the end."""

import asyncio
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from studio.contracts.base import JsonObject
from studio.contracts.events import RunEvent
from tests.api.conftest import Live, open_live
from tests.support.databases import sqlite_database
from tests.support.scripted_upstream import Reply


@pytest.fixture
async def live(tmp_path: Path, temporal_address: str, redis_url: str) -> AsyncGenerator[Live]:
    async with open_live(tmp_path, temporal_address, redis_url, sqlite_database(tmp_path)) as running:
        yield running


def ask(step_id: str) -> JsonObject:
    return {"id": step_id, "agent": {"message": "go on"}}


PATTERNS: dict[str, JsonObject] = {
    "sequential": {"steps": [ask("a"), ask("b")]},
    "parallel": {"branches": [ask("a"), ask("b"), {"id": "later", "sequential": {"steps": [ask("c"), ask("d")]}}]},
    "conditional": {"cases": [{"when": "${{ true }}", "steps": [ask("a"), ask("b")]}]},
    "graph": {
        "start": "a",
        "nodes": [ask("a"), ask("b"), ask("c")],
        "edges": [{"from": "a", "to": "b"}, {"from": "b", "to": "a", "when": "${{ false }}"}, {"from": "b", "to": "c"}],
    },
    "hierarchical": {
        "manager": {"message": "go on"},
        "workers": [{"name": "w", "description": "works", "agent": {"message": "go on"}}],
        "input": "a task",
    },
}


class TestCancel:
    async def test_in_a_child_of_a_child_while_tokens_flow(self, live: Live) -> None:
        live.upstream.default = Reply(tokens=["tick "], endless=True, token_delay=0.005)
        await live.workflow(ask("a"), ask("b"), name="innermost")
        await live.workflow({"id": "second", "workflow": "innermost"}, ask("c"), name="inner")
        await live.workflow({"id": "first", "workflow": "inner"}, ask("d"))
        run_id = await live.start()
        async with live.api.http.get(f"/api/v1/runs/{run_id}/events") as stream:
            async for line in stream.content:
                if line == b"event: token\n":
                    break
            asked_at = time.monotonic()
            (await live.api.post(f"/runs/{run_id}/cancel")).ok(202)
            async with asyncio.timeout(2):
                (call,) = await live.upstream.wait_for_calls(1, "abandoned")
            told = [line async for line in stream.content if line.startswith(b"event: ")]
        assert call.ended is not None
        assert call.ended - asked_at < 2
        assert told[-1] == b"event: run.cancelled\n"

        run = (await live.api.get(f"/runs/{run_id}")).ok()
        assert run["status"] == "cancelled"
        paths = ["first", "first/second", "first/second/a"]
        begun = [(step["id"], step["status"]) for step in run["steps"] if step["status"] != "skipped"]
        assert begun == [(path, "cancelled") for path in paths]
        for path in paths[:2]:
            child = await live.engine.client.get_workflow_handle(f"{run_id}/{path}").describe()
            assert child.close_time is not None
        last = (await live.engine.events(run_id))[-1]
        assert last.type == "run.cancelled"
        assert await later_than(live, last, seconds=1) == []
        assert len(live.upstream.calls) == 1

    async def test_half_way_in_each_pattern(self, live: Live) -> None:
        live.upstream.default = Reply(text="not yet", hold_after=1)
        runs: dict[str, str] = {}
        for pattern, fields in PATTERNS.items():
            (await live.api.post("/workflows", {"name": pattern, "pattern": pattern, **fields})).ok(201)
            runs[pattern] = (await live.api.post(f"/workflows/{pattern}/runs", {})).ok(202)["id"]
        calls = len(PATTERNS) + 2
        await live.upstream.wait_for_calls(calls, "held")
        await asyncio.gather(*(live.api.post(f"/runs/{run_id}/cancel") for run_id in runs.values()))
        ended = await asyncio.gather(*(live.api.finished(run_id) for run_id in runs.values()))
        assert {run["status"] for run in ended} == {"cancelled"}
        for run in ended:
            assert {step["status"] for step in run["steps"]} <= {"cancelled", "skipped"}
        assert [call.outcome for call in live.upstream.calls] == ["abandoned"] * calls


async def later_than(live: Live, last: RunEvent, *, seconds: float) -> list[RunEvent]:
    """What still comes on the run's stream."""
    told = await live.engine.stream.wait({last.run_id: last.seq}, block_ms=int(seconds * 1000), count=100)
    return [event for batch in told.values() for event in batch.events]
