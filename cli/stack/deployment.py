"""What Temporal says of the workers' deployment: which build gets the new runs, and which may go."""

import asyncio
from typing import NamedTuple

from cli.stack.probes import PROBE_TIMEOUT_SECONDS, Connect


class DeploymentState(NamedTuple):
    current: str | None
    """Build id; None when runs go to workers without a version."""
    ramping: str | None
    ramp_percentage: float
    draining: list[str]
    """Builds that still have runs to finish."""


async def deployment_state(connect: Connect, namespace: str, name: str) -> DeploymentState | None:
    """None when Temporal knows no such deployment: no worker of it has polled yet.

    Raises `RuntimeError` when Temporal cannot be reached and `RPCError` when it refuses.
    """
    from temporalio.api.enums.v1 import WorkerDeploymentVersionStatus
    from temporalio.api.workflowservice.v1 import DescribeWorkerDeploymentRequest
    from temporalio.service import RPCError, RPCStatusCode

    async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
        client = await connect()
        request = DescribeWorkerDeploymentRequest(namespace=namespace, deployment_name=name)
        try:
            found = (await client.workflow_service.describe_worker_deployment(request)).worker_deployment_info
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                return None
            raise
    draining = WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINING
    routing = found.routing_config
    return DeploymentState(
        current=routing.current_deployment_version.build_id or None,
        ramping=routing.ramping_deployment_version.build_id or None,
        ramp_percentage=routing.ramping_version_percentage,
        draining=[one.deployment_version.build_id for one in found.version_summaries if one.status == draining],
    )


def described(state: DeploymentState) -> str:
    """`build 2 is current, build 1 drains`."""
    parts = [f"build {state.current} is current" if state.current else "no build is current"]
    if state.ramping:
        parts.append(f"build {state.ramping} gets {state.ramp_percentage:g} %")
    parts += [f"build {build} drains" for build in state.draining]
    return ", ".join(parts)
