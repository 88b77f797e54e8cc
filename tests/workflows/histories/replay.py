"""Replays a history, and looks whether each call is made for the step that it was made for when it was recorded.

Temporal itself compares the kind and order of commands, not what they are about: two calls that changed places would
get each other's results, and nobody would notice.
"""

from collections.abc import Sequence
from typing import Any

from temporalio import workflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHistory
from temporalio.converter import DataConverter
from temporalio.worker import (
    Interceptor,
    Replayer,
    StartActivityInput,
    StartChildWorkflowInput,
    UnsandboxedWorkflowRunner,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

Call = tuple[str, str]
"""An activity and the path of its step, or a child workflow's type and id."""


class OtherCallsError(Exception):
    """The replay made other calls than the run."""


WHAT_TO_DO = """
Runs of the kind {name!r} that are under way would stand still, or go on wrongly, once this change is deployed.
"Changing it safely" in docs/design/engine.md says what to do. Recording them anew would only hide it from the tests.
"""


async def replay(history: WorkflowHistory, workflows: Sequence[type], converter: DataConverter) -> None:
    """As a worker does, without the sandbox. Raises `OtherCallsError` or what Temporal raises; a note says what that
    means.
    """
    try:
        await _replay(history, workflows, converter)
    except Exception as error:
        error.add_note(WHAT_TO_DO.format(name=history.workflow_id))
        raise


async def _replay(history: WorkflowHistory, workflows: Sequence[type], converter: DataConverter) -> None:
    noted = _Noted()
    replayer = Replayer(
        workflows=workflows,
        workflow_runner=UnsandboxedWorkflowRunner(),
        data_converter=converter,
        interceptors=[noted],
    )
    await replayer.replay_workflow(history)
    recorded = await _recorded_calls(history, converter)
    if noted.calls != recorded:
        raise OtherCallsError(f"recorded: {recorded}\nreplayed: {noted.calls}")


async def _recorded_calls(history: WorkflowHistory, converter: DataConverter) -> list[Call]:
    calls: list[Call] = []
    for event in history.events:
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            scheduled = event.activity_task_scheduled_event_attributes
            [request] = await converter.decode(scheduled.input.payloads)
            calls.append((scheduled.activity_type.name, request["step"]["path"]))
        elif event.event_type == EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED:
            child = event.start_child_workflow_execution_initiated_event_attributes
            calls.append((child.workflow_type.name, child.workflow_id))
    return calls


class _Noted(Interceptor):
    def __init__(self) -> None:
        self.calls: list[Call] = []

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:  # noqa: A002 - the SDK's name
        calls = self.calls

        class Outbound(WorkflowOutboundInterceptor):
            def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:  # noqa: A002 - as above
                calls.append((input.activity, input.args[0].step.path))
                return super().start_activity(input)

            async def start_child_workflow(
                self,
                input: StartChildWorkflowInput,  # noqa: A002 - as above
            ) -> workflow.ChildWorkflowHandle[Any, Any]:
                calls.append((input.workflow, input.id))
                return await super().start_child_workflow(input)

        class Inbound(WorkflowInboundInterceptor):
            def init(self, outbound: WorkflowOutboundInterceptor) -> None:
                super().init(Outbound(outbound))

        return Inbound
