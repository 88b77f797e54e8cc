"""What whoever reads Temporal's database gets to see."""

from pathlib import Path

import pytest
from temporalio.client import WorkflowFailureError

from cli.stack import parts
from studio.contracts.base import JsonObject
from tests.api.conftest import open_live
from tests.support.databases import sqlite_database
from tests.support.ports import free_port
from tests.support.scripted_upstream import Reply
from tests.support.servers import running

MARKERS = {
    name: f"marked-{name}-4b1f"
    for name in ("input", "prompt", "output", "signal", "comment", "edit", "failure", "details", "metadata")
}


def bytes_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.glob("temporal.db*"))


class TestTemporalDatabase:
    async def test_holds_names_and_no_data(self, tmp_path: Path, redis_url: str) -> None:
        stored = tmp_path / "temporal.db"
        with running(parts.temporal(free_port(), None, stored), tmp_path / "temporal.log") as part:
            async with open_live(tmp_path, part.address, redis_url, sqlite_database(tmp_path)) as live:
                refusal = Reply(status=400, error={"error": {"message": MARKERS["failure"]}})
                live.upstream.when("fail now", refusal)
                live.upstream.default = Reply(text=MARKERS["output"])
                inner: list[JsonObject] = [{"id": "deep", "agent": {"message": "{{ topic }}"}}]
                await live.workflow(*inner, name="inner")
                await live.workflow(
                    {"id": "readable_name", "agent": {"instructions": MARKERS["prompt"], "message": "{{ topic }}"}},
                    {"id": "c", "workflow": "inner", "input": "${{ input }}"},
                    {"id": "w", "wait": {"signal": "go"}},
                    {"id": "a", "approval": {"message": MARKERS["details"], "allow_edit": True}},
                    {"id": "f", "agent": {"message": "fail now"}},
                )
                run_id = await live.start(input={"topic": MARKERS["input"]}, metadata={"note": MARKERS["metadata"]})
                await live.api.until(f"/runs/{run_id}", lambda run: run["status"] == "waiting")
                (await live.api.post(f"/runs/{run_id}/signals/go", {"text": MARKERS["signal"]})).ok(202)
                await live.api.until(f"/runs/{run_id}", lambda run: run["steps"][-1]["id"] == "a")
                decision = {"decision": "approve", "comment": MARKERS["comment"], "edit": MARKERS["edit"]}
                (await live.api.post(f"/runs/{run_id}/approvals/a", decision)).ok()
                with pytest.raises(WorkflowFailureError):
                    await live.engine.client.get_workflow_handle(run_id).result()
                run = await live.engine.run(run_id)
                assert run.error is not None
                assert MARKERS["failure"] in run.error.message
        found = bytes_in(tmp_path)
        assert b"readable_name" in found
        assert [name for name, marker in MARKERS.items() if marker.encode() in found] == []
