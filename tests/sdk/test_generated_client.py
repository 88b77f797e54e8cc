"""A client that a generator makes of the live OpenAPI document: our SDK runs a workflow."""

import importlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import Live, open_live
from tests.sdk.generate import generate
from tests.support.databases import sqlite_database

WORKFLOW = {
    "name": "greet",
    "pattern": "sequential",
    "steps": [
        {"id": "ask", "agent": {"message": "{{ name }}"}},
        {"id": "shout", "transform": "${{ steps.ask.output }}!"},
    ],
    "output": "${{ steps.shout.output }}",
}


@pytest.fixture
async def live(tmp_path: Path, temporal_address: str, redis_url: str) -> AsyncGenerator[Live]:
    async with open_live(tmp_path, temporal_address, redis_url, sqlite_database(tmp_path)) as running:
        yield running


class TestWorkflowThroughTheSdk:
    @pytest.mark.timeout(180)
    async def test_start_wait_read_list_and_handle_a_problem(
        self, live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        document = (await live.api.get("//openapi.json")).ok()
        said = generate(document, "studio_api", tmp_path / "sdk")
        assert "WARNING" not in said, said
        monkeypatch.syspath_prepend(tmp_path / "sdk")

        def part(name: str) -> Any:
            return importlib.import_module(f"studio_api.{name}")

        models = part("models")
        async with part("client").Client(base_url=live.api.url, headers={"Accept": "application/json"}) as client:
            (await live.api.post("/workflows", WORKFLOW)).ok(201)
            body = models.StartRun(input_={"name": "Ada"})
            run = await part("api.runs.start_workflow_run").asyncio("greet", client=client, body=body, wait=30)
            assert isinstance(run, models.Run)
            assert run.status == models.RunStatus.SUCCEEDED
            read = await part("api.runs.get_run").asyncio(run.id, client=client)
            assert [step.id for step in read.steps] == ["ask", "shout"]
            assert read.output == run.output
            events = await part("api.runs.list_run_events").asyncio(run.id, client=client)
            assert [event.type_ for event in events.items][-1] == "run.succeeded"
            succeeded = models.ListRunsStatusType0Item.SUCCEEDED
            runs = await part("api.runs.list_runs").asyncio(client=client, status=[succeeded], workflow="greet")
            assert [one.id for one in runs.items] == [run.id]
            stored = await part("api.workflows.get_workflow").asyncio("greet", client=client)
            assert stored.name == "greet"
            problem = await part("api.runs.get_run").asyncio("run_none", client=client)
            assert isinstance(problem, models.Problem)
            assert (problem.status, problem.type_) == (404, "urn:studio:not-found")
