"""What one turn writes down: the run's new state, and the commands that tell the driver and the run's readers of it."""

from collections.abc import Sequence
from copy import copy
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, TypeVar

from studio.contracts.base import Json
from studio.contracts.events import EventType, NewEvent, cut_content
from studio.contracts.folding import LARGE_BYTES, is_same
from studio.contracts.runs import BLOCK_KINDS, CALL_KINDS, RunError, RunStatus, StepRun
from studio.engine.frames import Fan, Frame, Mesh, Team
from studio.engine.limits import MAX_RUN_BYTES, held_bytes, measure
from studio.engine.scope import local_names
from studio.engine.state import (
    CancelTimer,
    Command,
    EndRun,
    Publish,
    RunState,
    StartTimer,
    StepCancelled,
    StepEnded,
    StepSucceeded,
)

_CHANGED = ("steps", "frames", "rounds", "visits", "timers", "undo", "held", "parked", "signals")
PartT = TypeVar("PartT", Fan, Mesh, Team)


def _own(part: PartT | None) -> PartT | None:
    """A copy whose lists and maps are its own, but for a map's items, which nothing changes."""
    own = {field: copy(getattr(part, field)) for field in type(part).model_fields if field != "items"} if part else {}
    return part and part.model_copy(update=own)


class TurnRecord:
    """Works on a copy of the state, so that the one given stays as it was."""

    def __init__(self, state: RunState, at: datetime) -> None:
        copied: dict[str, Any] = {field: copy(getattr(state, field)) for field in _CHANGED}
        if state.remembered is not None:
            parts = {field: copy(getattr(state.remembered, field)) for field in ("ends", "blocks", "due")}
            copied["remembered"] = state.remembered.model_copy(update=parts)
        self.state = state.model_copy(update=copied)
        self.commands: list[Command] = []
        self._at = at
        self._owned: set[str] = set()
        """The frames that are already this turn's own copies."""

    def frame(self, path: str) -> Frame:
        """This turn's own copy, to be changed."""
        if path not in self._owned:
            held = self.state.frames[path]
            parts = {"open": list(held.open), "fan": _own(held.fan), "mesh": _own(held.mesh), "team": _own(held.team)}
            self.state.frames[path] = held.model_copy(update=parts)
            self._owned.add(path)
        return self.state.frames[path]

    def add_frame(self, path: str, frame: Frame) -> None:
        self.state.frames[path] = frame
        self._owned.add(path)

    def drop_frame(self, path: str) -> Frame:
        self._owned.discard(path)
        return self.state.frames.pop(path)

    def start_step(self, step: StepRun, given: Json) -> None:
        self.state.steps[step.id] = step.model_copy(update={"status": "running", "started_at": self._at})
        data = {"kind": step.kind, "name": step.name, "agent": step.agent, "input": given}
        if step.kind not in BLOCK_KINDS:
            self.state.calls += 1
        local = local_names(self.state, step.id)
        data |= {name: local[name] for name in ("index", "iteration") if name in local}
        told = {key: value for key, value in data.items() if value is not None}
        self.publish("step.started", step.id, told, step.attempt)

    def skip_step(self, path: str, why: str) -> None:
        """The step did not begin, in the last attempt of the blocks around it, and will not."""
        step = self.state.steps[path]
        attempt = step.attempt + ((step.started_at or step.ended_at) is not None)
        skipped = {"status": "skipped", "attempt": attempt, "started_at": None, "ended_at": None, "duration_ms": None}
        self.state.steps[path] = step.model_copy(update=skipped)
        self.publish("step.skipped", path, {"kind": step.kind, "why": why}, attempt)

    def count(self, event: StepEnded) -> None:
        """What the step's calls used, whatever becomes of it."""
        held = self.state.steps[event.path]
        attempt = held.attempt if isinstance(event, StepCancelled) else max(held.attempt, event.attempt)
        used: dict[str, Any] = {"attempt": attempt, "usage": held.usage.plus(event.usage)}
        if event.cost_usd is not None:
            used["cost_usd"] = (held.cost_usd or Decimal(0)) + event.cost_usd
            self.state.cost_usd = (self.state.cost_usd or Decimal(0)) + event.cost_usd
        if isinstance(event, StepSucceeded) and event.cached:
            used["cached"] = True
        self.state.steps[event.path] = held.model_copy(update=used)
        self.state.usage = self.state.usage.plus(event.usage)

    def keep(self, inner: Sequence[StepRun], *, exactly: bool = False) -> bool:
        """Take the steps of a child workflow over, unless they hold more than a run may. `exactly` looks at all that
        is held: what was counted may have been replaced since.
        """
        steps = {step.id: step for step in inner}
        held = {**self.state.steps, **steps} if exactly else steps
        size = held_bytes(step.output for step in held.values()) + (0 if exactly else self.state.output_bytes)
        if size > MAX_RUN_BYTES:
            return False
        self.state.output_bytes = size
        self.state.steps.update(steps)
        return True

    def has_room(self, output: Json, size: int) -> bool:
        """Whether a step may end with an output of so many bytes."""
        if self.state.output_bytes + size <= MAX_RUN_BYTES:
            return True
        return self.state.output_bytes + self._added(output, size) <= MAX_RUN_BYTES

    def recount(self) -> None:
        """What was counted may have been replaced since: by a later attempt, or another execution."""
        self.state.output_bytes = held_bytes(step.output for step in self.state.steps.values())

    def _added(self, output: Json, size: int) -> int:
        """What an output adds to those of the steps so far."""
        is_shared = size >= LARGE_BYTES and any(is_same(output, step.output) for step in self.state.steps.values())
        return 0 if is_shared else size

    def end_step(
        self,
        path: str,
        status: RunStatus | Literal["skipped"],
        *,
        output: Json = None,
        size: int | None = None,
        error: RunError | None = None,
        handled: bool = False,
    ) -> None:
        """`size` is the output's, if it is known. One that was told to stop before it began has no start."""
        step = self.state.steps[path]
        duration_ms = round((self._at - (step.started_at or self._at)).total_seconds() * 1000)
        changes: dict[str, Any] = {"status": status, "output": output, "error": error, "waiting": None}
        changes |= {"handled": True} if handled else {}
        changes |= {"ended_at": self._at, "duration_ms": duration_ms}
        closed = step.model_copy(update=changes)
        if output is not None:
            self.state.output_bytes += self._added(output, measure(output)[0] if size is None else size)
        self.state.steps[path] = closed
        data: dict[str, Json] = {"kind": closed.kind, "duration_ms": duration_ms}
        if error is not None:
            data["error"] = error.model_dump()
        if closed.kind in CALL_KINDS:
            data |= {"usage": closed.usage.model_dump(), "cost_usd": _money(closed.cost_usd)}
        if status == "succeeded" or handled:
            data["output"] = output
        if handled:
            data["handled"] = True
        if closed.cached:
            data["cached"] = True
        if closed.resolved_by is not None:
            data["resolved_by"] = closed.resolved_by
        self.publish(f"step.{status}", path, data, closed.attempt)  # pyright: ignore[reportArgumentType]
        if closed.usage.llm_calls:
            totals = {"usage": self.state.usage.model_dump(), "cost_usd": _money(self.state.cost_usd)}
            self.publish("usage", path, totals, closed.attempt)

    def end_run(self, status: RunStatus, *, output: Json = None, error: RunError | None = None) -> None:
        self.state.ended = True
        self.state.frames.clear()
        self.commands.append(EndRun(status, output, error))
        data: dict[str, Json] = {
            "status": status,
            "usage": self.state.usage.model_dump(),
            "cost_usd": _money(self.state.cost_usd),
        }
        data |= {"output": output} if status == "succeeded" else {}
        data |= {"error": error.model_dump()} if error else {}
        self.publish(f"run.{status}", None, data, self.state.retry + 1)  # pyright: ignore[reportArgumentType]

    def set_timer(self, kind: str, path: str, at: datetime) -> None:
        timer = f"{kind}:{path}"
        self.state.timers[timer] = at
        self.commands.append(StartTimer(timer, at))

    def clear_timer(self, kind: str, path: str) -> None:
        timer = f"{kind}:{path}"
        if self.state.timers.pop(timer, None) is not None:
            self.commands.append(CancelTimer(timer))

    def publish(self, event_type: EventType, path: str | None, data: dict[str, Json], attempt: int = 1) -> None:
        event = NewEvent(ts=self._at, step_id=path, attempt=attempt, type=event_type, data=cut_content(data))
        self.commands.append(Publish(event))


def _money(cost: Any) -> str | None:
    return None if cost is None else str(cost)
