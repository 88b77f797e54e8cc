"""The SDK's sandbox for workflow code, as the tests use it."""

from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

SANDBOX = SandboxedWorkflowRunner(
    restrictions=SandboxRestrictions.default.with_passthrough_modules("studio.contracts", "cel", "orjson", "structlog")
)
