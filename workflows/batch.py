"""What sees to it that each run of a batch is started, however often the API or a worker dies meanwhile."""

from temporalio import workflow

from studio.contracts.starts import StartBatchRequest
from workflows import calls


@workflow.defn
class BatchWorkflow:
    """Ends when all are started; they go on by themselves."""

    @workflow.run
    async def run(self, request: StartBatchRequest) -> None:
        await calls.start_batch(request)
