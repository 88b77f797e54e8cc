"""What can be said to a run that goes on: pause, resume, other limits, a signal, a person's decision."""

import hashlib
from contextlib import suppress
from difflib import get_close_matches
from typing import cast
from urllib.parse import quote

from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from api.runs.executions import Executions
from api.runs.service import RunService
from studio.contracts.base import Json, JsonObject, utc_now
from studio.contracts.definitions import ResolvedDefinition
from studio.contracts.interaction import (
    ApprovalOutcome,
    DecideApproval,
    DecideRequest,
    Decision,
    PendingApproval,
    Resolution,
    ResolveRequest,
    ResolveStep,
)
from studio.contracts.runs import FINAL_STATUSES, Run, StepRun
from studio.contracts.steps import WaitStep
from studio.contracts.waits import Limits
from studio.db.engine import Database
from studio.engine.plan import walk
from studio.errors import Conflict, DependencyUnavailable, FieldError, InvalidInput, NotFound
from studio.store.approvals import hide_approval
from studio.store.idempotency import find_signal, forget_signal, json_hash, keep_key, signal_told
from studio.tasks import Flights
from workflows.names import LIMITS, PAUSE, RESERVED, RESUME, child_workflow_id

MAX_NAMED = 5
"""Approvals that a 404 names."""
KEY_DIGITS = 32
"""Of an `Idempotency-Key`'s SHA-256: what a workflow remembers of it."""


def check_signal_name(name: str, place: str) -> None:
    """Raises `InvalidInput` that names `place` for a name that is AI Studio's own."""
    if name.startswith(RESERVED):
        message = f"names that begin with {RESERVED!r} are AI Studio's own"
        raise InvalidInput(message, errors=[FieldError(loc=[place, "name"], msg=message, type="reserved")])


class Steering:
    def __init__(self, runs: RunService, executions: Executions, database: Database) -> None:
        self._runs = runs
        self._executions = executions
        self._database = database
        self._looks = Flights[Run]()
        """Under way, by run."""

    async def close(self) -> None:
        await self._looks.close()

    async def pause(self, run_id: str) -> Run:
        return await self._tell(run_id, PAUSE)

    async def resume(self, run_id: str) -> Run:
        return await self._tell(run_id, RESUME)

    async def set_limits(self, run_id: str, changes: Limits, step_id: str | None) -> Run:
        """Only the fields that are set change; of the run, or of the child workflow that a step runs."""
        target = None
        if step_id is not None:
            steps = (await self._runs.get(run_id)).steps
            if not any(step.id == step_id and step.kind == "workflow" and step.status == "running" for step in steps):
                raise NotFound(f"No child workflow goes on at {step_id!r} of the run {run_id!r}.")
            target = child_workflow_id(run_id, step_id)
        return await self._tell(run_id, LIMITS, changes.model_dump(mode="json", exclude_unset=True), target=target)

    async def signal(self, run_id: str, name: str, payload: Json, key: str | None = None) -> Run:
        """The child workflow of which a step waits for it gets the signal, else the run, which keeps it. With a `key`,
        an `Idempotency-Key`, it counts once however often it is sent.
        """
        run = await self._runs.get(run_id)
        waiting = [step for step in run.steps if _waits_for(step, "signal") and (step.waiting or {})["name"] == name]
        if not waiting and run.status not in FINAL_STATUSES:
            await self._check_awaited(run_id, name)
        target = _workflow_of(run, waiting[0].id)[0] if waiting else run_id
        if key is None:
            return await self._tell(run_id, name, payload, target=target)
        return await self._signal_once(run, name, payload, key, target)

    async def _check_awaited(self, run_id: str, name: str) -> None:
        """Raises `InvalidInput` for a signal that no step of the run or of its child workflows ever waits for."""
        begun = await self._executions.begun(run_id, None)
        if begun is None:
            return
        awaited = signals_of(begun.definition)
        if name not in awaited:
            message = f"no step of the run waits for a signal {name!r}"
            close = get_close_matches(name, awaited, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"it waits for {', '.join(awaited) or 'none'}"
            raise InvalidInput(
                message, errors=[FieldError(loc=["path", "name"], msg=message, type="unknown_signal", hint=hint)]
            )

    async def _signal_once(self, run: Run, name: str, payload: Json, key: str, target: str) -> Run:
        """While it is not known whether somebody was told, it is for the same workflow, which counts it once. Only a
        workflow that has closed before that was known may have counted it as well.
        """
        scope, hashed = f"{run.id}/{name}", json_hash(payload)
        async with self._database.read() as session:
            before = await find_signal(session, scope, key, hashed)
        if before is not None and before[1]:
            return run
        if run.status in FINAL_STATUSES:
            raise _ended(run)
        if before is not None:
            target = before[0]
        elif not await self._claim(scope, key, hashed, run.id, target):
            return await self._signal_once(run, name, payload, key, target)  # the same request came twice at once
        remembered = hashlib.sha256(key.encode()).hexdigest()[:KEY_DIGITS]
        told = await self._executions.signal(target, name, payload, remembered)
        async with self._database.write() as session:
            await (signal_told(session, scope, key, utc_now()) if told else forget_signal(session, scope, key, target))
        if not told and target != run.id:
            return await self._signal_once(run, name, payload, key, run.id)
        if not told:
            raise await self._untold(run.id)
        return await self._runs.get(run.id)

    async def _claim(self, scope: str, key: str, hashed: str, run_id: str, target: str) -> bool:
        try:
            async with self._database.write() as session:
                await keep_key(session, scope, key, hashed, run_id, utc_now(), target)
        except IntegrityError:
            return False
        return True

    async def _tell(self, run_id: str, name: str, *arguments: Json, target: str | None = None) -> Run:
        run = await self._runs.refreshed(run_id)
        if run.status in FINAL_STATUSES:
            raise _ended(run)
        if not await self._executions.signal(target or run_id, name, *arguments):
            raise await self._untold(run_id)
        return await self._runs.get(run_id)

    async def _untold(self, run_id: str) -> Conflict | DependencyUnavailable:
        """Why there was nobody to hear a signal."""
        run = await self._runs.refreshed(run_id)
        if run.status in FINAL_STATUSES:
            return _ended(run)
        return DependencyUnavailable("temporal", f"Temporal does not know the run {run_id!r} yet.")

    async def list_approvals(self, run_id: str) -> list[PendingApproval]:
        """Those that wait for a person now."""
        run = await self._runs.get(run_id)
        return [_pending(run, step) for step in run.steps if _waits_for(step, "approval")]

    async def decide(self, run_id: str, path: str, body: DecideApproval, actor: str) -> ApprovalOutcome:
        """A second or late decision is answered with what was decided."""
        run, step = await self._approval(run_id, path)
        if step.status != "waiting":
            return _decided(step)
        edit = [] if body.edit is None else [body.edit]
        decision = Decision(decision=body.decision, comment=body.comment, edit=edit, by=actor)
        workflow_id, inner = _workflow_of(run, path)
        request = DecideRequest(path=inner, decision=decision, hash=body.hash)
        outcome = await self._executions.decide(workflow_id, request)
        if outcome is not None and outcome.accepted:
            with suppress(SQLAlchemyError):  # it counts; and the run tells the inbox by itself, too, only later
                async with self._database.write() as session:
                    await hide_approval(session, run_id, path)
        return outcome or _decided((await self._approval(run_id, path))[1])

    async def resolve(self, run_id: str, path: str, body: ResolveStep, actor: str) -> StepRun:
        """The parked step as it is then."""
        run = await self._look(run_id)
        if run.status in FINAL_STATUSES:
            raise _ended(run)
        if not run.steps:
            raise DependencyUnavailable("worker", "No worker answers for the run; try again.")
        workflow_id, inner = _workflow_of(run, path)
        resolution = Resolution(action=body.action, output=body.output, by=actor)
        step = await self._executions.resolve(workflow_id, ResolveRequest(path=inner, resolution=resolution))
        if step is None:
            raise _ended(await self._runs.get(run_id))
        return step.model_copy(update={"id": path})

    async def _look(self, run_id: str) -> Run:
        """Those who decide at one time look once: of what changes meanwhile the workflow knows."""
        return await self._looks.get(run_id, lambda: self._runs.get(run_id))

    async def _approval(self, run_id: str, path: str) -> tuple[Run, StepRun]:
        run = await self._look(run_id)
        step = next((step for step in run.steps if step.id == path and step.kind == "approval"), None)
        if step is not None:
            return run, step
        if run.status not in FINAL_STATUSES and not run.steps:
            raise DependencyUnavailable("worker", "No worker answers for the run; try again.")
        raise NotFound(f"The run {run_id!r} has no approval {path!r}, or has not come to it yet. {_what_waits(run)}")


def signals_of(definition: ResolvedDefinition) -> list[str]:
    """What a step of the run, or of a child workflow, waits for at some time."""
    workflows = [definition.workflow, *(child.workflow for child in definition.workflows.values())]
    steps = [step for workflow in workflows for _, step in walk(workflow) if isinstance(step, WaitStep)]
    return sorted({step.wait.signal for step in steps if step.wait.signal is not None})


def _what_waits(run: Run) -> str:
    """How to address the approvals that wait; a path may hold `#`, which ends a URL unless it is escaped."""
    waiting = [quote(step.id, safe="/[]") for step in run.steps if _waits_for(step, "approval")]
    return f"What waits, as written in a URL: {', '.join(waiting[:MAX_NAMED])}." if waiting else "No approval waits."


def _ended(run: Run) -> Conflict:
    return Conflict(f"The run {run.id!r} has ended already: it is {run.status}.", extra={"run_status": run.status})


def _waits_for(step: StepRun, what: str) -> bool:
    return step.status == "waiting" and (step.waiting or {}).get("for") == what


def _workflow_of(run: Run, path: str) -> tuple[str, str]:
    """The Temporal workflow that the step at `path` belongs to, and the step's path in it."""
    children = [step.id for step in run.steps if step.kind == "workflow" and step.status == "running"]
    around = [child for child in children if path.startswith(f"{child}/")]
    if not around:
        return run.id, path
    child = max(around, key=len)
    return child_workflow_id(run.id, child), path[len(child) + 1 :]


def _pending(run: Run, step: StepRun) -> PendingApproval:
    place = {"run_id": run.id, "step_id": step.id, "project_id": run.project_id, "workflow": run.workflow.name}
    return PendingApproval.model_validate({**(step.waiting or {}), **place, "waiting_since": step.started_at})


def _decided(step: StepRun) -> ApprovalOutcome:
    output = cast("JsonObject", step.output) if isinstance(step.output, dict) else {}
    if "decision" not in output:
        raise Conflict(f"The approval {step.id!r} was never decided: it is {step.status}.")
    return ApprovalOutcome.model_validate({**output, "accepted": False})
