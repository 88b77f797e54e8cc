"""What the recorded cases are written with: a script of the model, and what happens meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError

from studio.contracts.base import Json, JsonObject
from studio.contracts.interaction import ApprovalOutcome, DecideRequest, Decision, Resolution, ResolveRequest
from studio.contracts.runs import RunProgress, RunStatus, StepRun
from studio.contracts.waits import Limits
from tests.support.platform import Engine
from tests.support.scripted_upstream import Reply
from workflows.names import DECIDE, LIMITS, PAUSE, PROGRESS, RESOLVE, RESUME, child_workflow_id

Handle = WorkflowHandle[Any, Any]


@dataclass(frozen=True)
class Case:
    document: JsonObject
    """The workflow, without its name."""
    given: Json = None
    says: Mapping[str, Sequence[Reply]] = field(default_factory=dict[str, Sequence[Reply]])
    """What the model answers to messages that contain a text; `ok` to all others."""
    workflows: dict[str, JsonObject] = field(default_factory=dict[str, JsonObject])
    status: RunStatus = "succeeded"
    output: Json = "ok"
    """When it succeeds: a script that says something else would record another case."""
    meanwhile: Callable[[Engine, Handle], Awaitable[None]] | None = None
    """What happens from outside while the run goes on."""
    of_agent: bool = False
    """A run of one agent alone."""
    stays_open: bool = False
    """The history is taken after `meanwhile`, without the run's end."""
    continues: bool = False
    """On a server that soon suggests to continue as new: the first and the last execution are kept."""
    children: tuple[str, ...] = ()
    """The paths of the steps whose child workflows' histories are kept too."""

    def recordings(self, name: str) -> list[str]:
        """What its histories are called."""
        first = [f"{name}.first"] if self.continues else []
        return [*first, name, *(f"{name}.{path.replace('/', '.')}" for path in self.children)]


def agent(step_id: str, message: str, **fields: Json) -> JsonObject:
    return {"id": step_id, "agent": {"message": message}, **fields}


def transform(step_id: str, value: Json = 1, **fields: Json) -> JsonObject:
    return {"id": step_id, "transform": value, **fields}


def sequence(*steps: JsonObject, **fields: Json) -> JsonObject:
    return {"pattern": "sequential", "steps": list(steps), **fields}


def parallel(step_id: str, *branches: JsonObject, **fields: Json) -> JsonObject:
    return {"id": step_id, "parallel": {"branches": list(branches), **fields}}


def said(*texts: str, **fields: Any) -> list[Reply]:
    return [Reply(text=text, **fields) for text in texts]


BUSY = Reply(status=503)
REFUSED = Reply(status=400, error={"error": {"message": "no"}})
NEVER = said("late", hold_after=0)
FAST: JsonObject = {"initial_interval": "10ms"}


async def until(handle: Handle, path: str, status: str) -> None:
    """Wait until the step, or with an empty path the run, has the status."""
    async with asyncio.timeout(20):
        while True:
            progress: RunProgress = await handle.query(PROGRESS, result_type=RunProgress)
            found = {step.id: step.status for step in progress.steps} | {"": progress.status}
            if found.get(path) == status:
                return
            await asyncio.sleep(0.02)


async def send_two_signals(engine: Engine, handle: Handle) -> None:
    await handle.signal("early", {"n": 1})
    await until(handle, "late", "waiting")
    await handle.signal("late", 2)


async def approve(engine: Engine, handle: Handle) -> None:
    await until(handle, "ask", "waiting")
    decision = Decision(decision="approve", by="somebody", edit=["edited"])
    for path in ("nobody", "ask"):
        request = DecideRequest(path=path, decision=decision)
        with suppress(WorkflowUpdateFailedError):  # of nobody: a refusal belongs to the history too
            await handle.execute_update(DECIDE, request, result_type=ApprovalOutcome)


async def approve_in_child(engine: Engine, handle: Handle) -> None:
    await engine.upstream.wait_for_calls(1)
    child = engine.client.get_workflow_handle(child_workflow_id(handle.id, "c"))
    await until(child, "ask", "waiting")
    request = DecideRequest(path="ask", decision=Decision(decision="approve", by="somebody"))
    await child.execute_update(DECIDE, request, result_type=ApprovalOutcome)


async def resolve(engine: Engine, handle: Handle) -> None:
    for path, action in (("again", "retry"), ("given", "done")):
        await until(handle, path, "waiting")
        resolution = Resolution.model_validate({"action": action, "output": "ok", "by": "somebody"})
        request = ResolveRequest(path=path, resolution=resolution)
        await handle.execute_update(RESOLVE, request, result_type=StepRun)


async def pause_and_resume(engine: Engine, handle: Handle) -> None:
    await engine.upstream.wait_for_calls(1, "held")
    await handle.signal(PAUSE)
    await until(handle, "", "paused")
    engine.upstream.release()
    await until(handle, "first", "succeeded")
    await handle.signal(RESUME)


async def raise_limit(engine: Engine, handle: Handle) -> None:
    await until(handle, "", "paused")
    await handle.signal(LIMITS, Limits(max_steps=10))
    await handle.signal(RESUME)


async def lift_limits(engine: Engine, handle: Handle) -> None:
    await engine.upstream.wait_for_calls(1)
    await until(engine.client.get_workflow_handle(child_workflow_id(handle.id, "c/d")), "", "paused")
    await handle.signal(LIMITS, Limits(max_tokens=None))
    await handle.signal(RESUME)


async def cancel_held_call(engine: Engine, handle: Handle) -> None:
    await engine.upstream.wait_for_calls(1, "held")
    await handle.cancel()


async def wait_in_the_middle(engine: Engine, handle: Handle) -> None:
    await until(handle, "middle/signal", "waiting")
    await until(handle, "middle/timer", "waiting")
    await until(handle, "", "waiting")
