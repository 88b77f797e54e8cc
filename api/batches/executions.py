"""Batches on the Temporal side: one workflow of the batch's id starts its runs."""

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from api.runs.executions import CALL, Executions, StartRefused, temporal_faults
from studio.contracts.plain import PlainText
from studio.contracts.starts import StartBatchRequest
from studio.executions import project_attribute
from workflows.batch import BatchWorkflow


class BatchExecutions:
    def __init__(self, client: Client, task_queue: str, runs: Executions) -> None:
        self._client = client
        self._task_queue = task_queue
        self._runs = runs

    async def start(self, request: StartBatchRequest, project_id: str, name: str) -> None:
        """Repeating it changes nothing. Raises `StartRefused` and `DependencyUnavailable` as a run's start does."""
        try:
            with temporal_faults():
                await self._client.start_workflow(
                    BatchWorkflow.run,
                    request,
                    id=request.batch_id,
                    task_queue=self._task_queue,
                    id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                    id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                    search_attributes=project_attribute(project_id),
                    static_summary=PlainText(f"batch of {name}"),
                    rpc_timeout=CALL,
                )
        except WorkflowAlreadyStartedError:
            return  # an earlier attempt started it, and it has ended since
        except RPCError as error:
            raise StartRefused(error.message) from error

    async def cancel_run(self, run_id: str) -> None:
        """Ask a run to stop; one that has ended, or never began, does not mind."""
        await self._runs.cancel(run_id)
