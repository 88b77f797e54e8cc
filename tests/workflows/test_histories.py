"""Runs of every kind, recorded when they ran, replayed by the code as it is now."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.converter import DataConverter
from temporalio.worker import Replayer

from studio.codec import data_converter
from studio.contracts.base import Json
from studio.contracts.definitions import ResolvedDefinition
from studio.contracts.runs import RunRequest
from studio.db.engine import Database
from studio.engine.plan import Plan
from studio.engine.scheduler import advance
from studio.engine.state import Command, CoreEvent, RunState
from studio.store.blobs import BlobStore
from tests.support.databases import sqlite_database
from tests.support.sandbox import SANDBOX
from tests.workflows.histories.archive import KEY, read_history, recorded_names
from tests.workflows.histories.cases import CASES
from tests.workflows.histories.replay import OtherCallsError, replay
from workflows import driver
from workflows.carried import Carried
from workflows.patterns import PatternWorkflow
from workflows.registry import WORKFLOWS


@pytest.fixture
async def converter(tmp_path: Path) -> AsyncGenerator[DataConverter]:
    """Over an empty store: nothing of a recorded history may lie apart."""
    database = Database(sqlite_database(tmp_path))
    try:
        yield data_converter([KEY], BlobStore(database))
    finally:
        await database.close()


class TestRecordedHistories:
    @pytest.mark.parametrize("name", recorded_names())
    async def test_it_comes_to_the_same_commands(self, name: str, converter: DataConverter) -> None:
        await replay(read_history(name), WORKFLOWS, converter)

    @pytest.mark.parametrize("name", ["blocks", "continued"])
    async def test_it_does_so_in_the_sandbox(self, name: str, converter: DataConverter) -> None:
        replayer = Replayer(workflows=WORKFLOWS, workflow_runner=SANDBOX, data_converter=converter)
        await replayer.replay_workflow(read_history(name))

    def test_every_case_is_recorded(self) -> None:
        assert recorded_names() == sorted(name for case, what in CASES.items() for name in what.recordings(case))


@workflow.defn(name="SequentialWorkflow")
class Delayed(PatternWorkflow):
    """Waits a second before its first step."""

    @workflow.run
    async def run(self, request: RunRequest, definition: ResolvedDefinition, carried: Carried | None) -> Json:
        await asyncio.sleep(1)
        return await self._driver.execute()


def backwards(plan: Plan, state: RunState, event: CoreEvent) -> tuple[RunState, list[Command]]:
    new_state, commands = advance(plan, state, event)
    return new_state, commands[::-1]


class TestChanges:
    """Changes that would break runs under way do not pass."""

    async def test_a_timer_more(self, converter: DataConverter) -> None:
        with pytest.raises(workflow.NondeterminismError, match="Changing it safely"):
            await replay(read_history("sequential"), [Delayed], converter)

    async def test_calls_that_change_places(self, converter: DataConverter, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(driver, "advance", backwards)
        with pytest.raises(OtherCallsError, match="Changing it safely"):
            await replay(read_history("hierarchical_parallel"), WORKFLOWS, converter)

    async def test_a_call_that_waits(self, converter: DataConverter, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(driver, "MAX_CALLS", 1)
        with pytest.raises(workflow.NondeterminismError, match="'for_each'"):
            await replay(read_history("for_each"), WORKFLOWS, converter)
