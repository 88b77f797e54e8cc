"""What one turn writes down: the run's new state, and the commands that tell the driver and the run's readers of it."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from studio.contracts.base import Json
from studio.contracts.events import EventType, NewEvent, cut_content
from studio.contracts.runs import RunError, RunStatus, StepRun
from studio.engine.scope import local_names
from studio.engine.state import Command, EndRun, Frame, Publish, RunState, StepFailed, StepSucceeded


class TurnRecord:
    """Works on a copy of the state, so that the one given stays as it was."""

    def __init__(self, state: RunState, at: datetime) -> None:
        copied = {"steps": dict(state.steps), "frames": dict(state.frames), "rounds": dict(state.rounds)}
        self.state = state.model_copy(update=copied)
        self.commands: list[Command] = []
        self._at = at
        self._owned: set[str] = set()
        """The frames that are already this turn's own copies."""

    def frame(self, path: str) -> Frame:
        """This turn's own copy, to be changed."""
        if path not in self._owned:
            held = self.state.frames[path]
            fan = held.fan and held.fan.model_copy(update={"errors": list(held.fan.errors)})
            self.state.frames[path] = held.model_copy(update={"open": list(held.open), "fan": fan})
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
        local = local_names(self.state, step.id)
        data |= {name: local[name] for name in ("index", "iteration") if name in local}
        self.publish("step.started", step.id, {key: value for key, value in data.items() if value is not None})

    def count(self, event: StepSucceeded | StepFailed) -> None:
        """What the step's calls used, whatever becomes of it."""
        used = {"attempt": event.attempt, "usage": event.usage, "cost_usd": event.cost_usd}
        self.state.steps[event.path] = self.state.steps[event.path].model_copy(update=used)
        self.state.usage = self.state.usage.plus(event.usage)
        if event.cost_usd is not None:
            self.state.cost_usd = (self.state.cost_usd or Decimal(0)) + event.cost_usd

    def end_step(
        self, path: str, status: RunStatus, *, output: Json = None, error: RunError | None = None, handled: bool = False
    ) -> None:
        step = self.state.steps[path]
        started = step.started_at or self._at
        duration_ms = round((self._at - started).total_seconds() * 1000)
        changes: dict[str, Any] = {"status": status, "output": output, "error": error}
        changes |= {"started_at": started, "ended_at": self._at, "duration_ms": duration_ms}
        closed = step.model_copy(update=changes)
        self.state.steps[path] = closed
        data: dict[str, Json] = {"kind": closed.kind, "duration_ms": duration_ms}
        if error is not None:
            data["error"] = error.model_dump()
        if closed.kind == "agent":
            data |= {"usage": closed.usage.model_dump(), "cost_usd": _money(closed.cost_usd)}
        if status == "succeeded" or handled:
            data["output"] = output
        if handled:
            data["handled"] = True
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
        self.publish(f"run.{status}", None, data)  # pyright: ignore[reportArgumentType]

    def publish(self, event_type: EventType, path: str | None, data: dict[str, Json], attempt: int = 1) -> None:
        event = NewEvent(ts=self._at, step_id=path, attempt=attempt, type=event_type, data=cut_content(data))
        self.commands.append(Publish(event))


def _money(cost: Any) -> str | None:
    return None if cost is None else str(cost)
