"""A run of one agent alone: a definition of one step."""

from temporalio import workflow

from studio.contracts.base import Json
from studio.contracts.definitions import ResolvedDefinition
from studio.contracts.runs import RunProgress, RunRequest
from workflows.driver import Driver


@workflow.defn
class AgentWorkflow:
    @workflow.init
    def __init__(self, request: RunRequest, definition: ResolvedDefinition) -> None:
        self._driver = Driver(request, definition)

    @workflow.run
    async def run(self, request: RunRequest, definition: ResolvedDefinition) -> Json:
        return await self._driver.execute()

    @workflow.query
    def progress(self) -> RunProgress:
        return self._driver.progress()
