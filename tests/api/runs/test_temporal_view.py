"""What Temporal makes of a run: who goes first, and what its UI shows."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import WorkflowExecutionDescription
from temporalio.common import SearchAttributeKey

from activities.worker import open_worker
from studio.contracts.base import JsonObject
from studio.search_attributes import SEARCH_ATTRIBUTES
from tests.api.conftest import Live, open_live
from tests.support.databases import sqlite_database
from workflows.names import child_workflow_id


@pytest.fixture
async def served(tmp_path: Path, temporal_address: str, redis_url: str) -> AsyncGenerator[Live]:
    async with open_live(tmp_path, temporal_address, redis_url, sqlite_database(tmp_path)) as running:
        yield running


async def queue(live: Live, project: str, count: int, **body: int) -> None:
    """Runs of one call each that nobody takes up yet; the call says whose it is."""
    document = {"name": "test", "project_id": project, "pattern": "sequential"}
    document |= {"steps": [{"id": "ask", "agent": {"message": f"for {project}"}}]}
    await live.api.post("/workflows", document)
    starts = (live.api.post("/workflows/test/runs", body, project_id=project) for _ in range(count))
    for answer in await asyncio.gather(*starts):
        answer.ok(202)


async def asked(live: Live, count: int) -> list[str]:
    """What the model was asked, in order, by a worker that makes one call at a time."""
    settings = live.engine.settings.model_copy(update={"worker_max_activities": 1})
    async with open_worker(settings) as worker, worker:
        await live.upstream.wait_for_calls(count, "answered")
    return [call.text for call in live.upstream.calls]


class TestPriority:
    async def test_the_flood_of_one_project_does_not_hold_up_another(self, idle: Live) -> None:
        await queue(idle, "flood", 30)
        await queue(idle, "late", 3)
        order = await asked(idle, 33)
        last = max(index for index, text in enumerate(order) if text == "for late")
        assert last < 15, order

    async def test_runs_of_a_lower_number_come_first(self, idle: Live) -> None:
        await queue(idle, "usual", 20)
        await queue(idle, "urgent", 3, priority=1)
        order = await asked(idle, 23)
        last = max(index for index, text in enumerate(order) if text == "for urgent")
        assert last < 10, order  # small deviations are Temporal's right

    async def test_a_number_out_of_range_is_refused(self, idle: Live) -> None:
        await idle.workflow({"id": "ask", "agent": {}})
        answer = await idle.api.post("/workflows/test/runs", {"priority": 6})
        assert answer.places() == [["body", "priority"]]


CHILD: JsonObject = {
    "name": "letter",
    "project_id": "mail",
    "pattern": "conditional",
    "cases": [{"when": True, "steps": [{"id": "write", "agent": "poet"}]}],
}


async def describe(live: Live, workflow_id: str) -> WorkflowExecutionDescription:
    return await live.engine.client.get_workflow_handle(workflow_id).describe()


def labels(found: WorkflowExecutionDescription) -> dict[str, str | None]:
    given = found.typed_search_attributes
    return {name: given.get(SearchAttributeKey.for_keyword(name)) for name in SEARCH_ATTRIBUTES}


class TestReadable:
    async def test_a_run_and_its_child_carry_names_priority_and_search_attributes(self, served: Live) -> None:
        (await served.api.post("/agents", {"name": "poet", "project_id": "mail"})).ok(201)
        (await served.api.post("/workflows", CHILD)).ok(201)
        await served.workflow({"id": "send", "workflow": "letter"}, project_id="mail")
        answer = await served.api.post(
            "/workflows/test/runs", {"session_id": "s-1", "priority": 2}, project_id="mail", wait=20
        )
        run = answer.ok()
        parent = await describe(served, run["id"])
        child = await describe(served, child_workflow_id(run["id"], "send"))
        shared = {"StudioProject": "mail", "StudioSession": "s-1"}
        assert labels(parent) == shared | {"StudioWorkflow": "test", "StudioPattern": "sequential"}
        assert labels(child) == shared | {"StudioWorkflow": "letter", "StudioPattern": "conditional"}
        for execution in (parent, child):
            priority = execution.raw_description.workflow_execution_info.priority
            assert (priority.priority_key, priority.fairness_key) == (2, "mail")
        assert await parent.static_summary() == "test"
        assert await child.static_summary() == "letter"
        assert "step `send`" in str(await child.static_details())
        assert f"GET /api/v1/runs/{run['id']}" in str(await parent.static_details())

    async def test_activities_and_timers_say_what_they_are_for_without_a_key(self, served: Live) -> None:
        block: JsonObject = {"id": "block", "sequential": {"steps": [{"id": "ask", "agent": {}}]}, "timeout": "1m"}
        await served.workflow({"id": "pause", "wait": {"for": "10ms"}}, block)
        run_id = await served.start()
        await served.api.finished(run_id)
        history = await served.engine.client.get_workflow_handle(run_id).fetch_history()
        summaries = [event.user_metadata.summary.data for event in history.events if event.HasField("user_metadata")]
        for words in (b'"test"', b'"wait of pause"', b'"timeout of block"', b'"agent ask \xc2\xb7 turn 1"'):
            assert words in summaries

    async def test_a_run_that_waits_says_for_what_and_shows_no_data(self, served: Live) -> None:
        message = "Pay 12 EUR to Ada?"
        pay: JsonObject = {"id": "pay", "approval": {"message": message, "timeout": "1h"}}
        branches: list[JsonObject] = [pay, {"id": "paid", "wait": {"signal": "money"}}]
        await served.workflow({"id": "both", "parallel": {"branches": branches}})
        run_id = await served.start()
        await served.api.until(f"/runs/{run_id}", lambda run: run["status"] == "waiting")
        handle = served.engine.client.get_workflow_handle(run_id)
        shown = (await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)).current_details
        assert "`both/pay` waiting for approval until 20" in shown
        assert "`both/paid` waiting for signal `money`" in shown
        assert message not in shown
        await handle.cancel()
        await served.api.finished(run_id)
