"""One Temporal workflow type a pattern, so that the Temporal UI can be searched by it. The driver does the work."""

from temporalio import workflow

from studio.contracts.base import Json
from studio.contracts.definitions import ResolvedDefinition
from studio.contracts.runs import RunRequest
from workflows.calls import present
from workflows.carried import Carried
from workflows.driver import Driver


class PatternWorkflow:
    """What all have in common; the SDK wants each `run` on its own class."""

    @workflow.init
    def __init__(self, request: RunRequest, definition: ResolvedDefinition, carried: Carried | None) -> None:
        self._driver = Driver(present(request), present(definition), present(carried))


@workflow.defn
class AgentWorkflow(PatternWorkflow):
    """A run of one agent alone."""

    @workflow.run
    async def run(self, request: RunRequest, definition: ResolvedDefinition, carried: Carried | None) -> Json:
        return await self._driver.execute()


@workflow.defn
class SequentialWorkflow(PatternWorkflow):
    @workflow.run
    async def run(self, request: RunRequest, definition: ResolvedDefinition, carried: Carried | None) -> Json:
        return await self._driver.execute()


@workflow.defn
class ParallelWorkflow(PatternWorkflow):
    @workflow.run
    async def run(self, request: RunRequest, definition: ResolvedDefinition, carried: Carried | None) -> Json:
        return await self._driver.execute()


@workflow.defn
class ConditionalWorkflow(PatternWorkflow):
    @workflow.run
    async def run(self, request: RunRequest, definition: ResolvedDefinition, carried: Carried | None) -> Json:
        return await self._driver.execute()


@workflow.defn
class GraphWorkflow(PatternWorkflow):
    @workflow.run
    async def run(self, request: RunRequest, definition: ResolvedDefinition, carried: Carried | None) -> Json:
        return await self._driver.execute()


@workflow.defn
class HierarchicalWorkflow(PatternWorkflow):
    @workflow.run
    async def run(self, request: RunRequest, definition: ResolvedDefinition, carried: Carried | None) -> Json:
        return await self._driver.execute()
