"""The SDK's sandbox for workflow code, as the tests use it."""

from temporalio.client import Client
from temporalio.worker import Replayer
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

SANDBOX = SandboxedWorkflowRunner(
    restrictions=SandboxRestrictions.default.with_passthrough_modules("studio.contracts", "cel", "orjson", "structlog")
)


async def replay_in_sandbox(client: Client, workflow_id: str, *workflows: type) -> None:
    """Raises when what the workflow did cannot be done again in the sandbox."""
    replayer = Replayer(workflows=workflows, workflow_runner=SANDBOX, data_converter=client.data_converter)
    await replayer.replay_workflow(await client.get_workflow_handle(workflow_id).fetch_history())
