"""What a run's events tell: folded into the steps as they stand, for the views to draw."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import cast

from studio.contracts.base import Json, JsonObject
from studio.contracts.events import RunEvent
from studio.contracts.runs import BLOCK_KINDS, RunError, RunStatus, RunUsage, StepStatus

_STEP_STATUSES: dict[str, StepStatus] = {
    "step.started": "running",
    "step.waiting": "waiting",
    "step.succeeded": "succeeded",
    "step.failed": "failed",
    "step.skipped": "skipped",
    "step.cancelled": "cancelled",
}
_ROUND = re.compile(r"#([0-9]+)/[^/]+$")


@dataclass
class StepStory:
    """One step. `text` and `thinking` are what the current attempt has written so far."""

    path: str
    kind: str = "agent"
    name: str | None = None
    status: StepStatus = "running"
    attempt: int = 1
    started_at: datetime | None = None
    waiting: JsonObject | None = None
    """What it waits for, while it does."""
    next_attempt_at: datetime | None = None
    """When the current attempt begins, or began, if one before it failed."""
    duration_ms: int | None = None
    usage: RunUsage = field(default_factory=RunUsage)
    cost_usd: Decimal | None = None
    output: Json = None
    error: RunError | None = None
    text: str = ""
    thinking: str = ""
    pieces: int = 0
    """How many `token` events the text came in."""

    @property
    def title(self) -> str:
        return self.name or self.path.rpartition("/")[2]

    @property
    def round(self) -> int | None:
        """Of the loop that it is directly in; counts from 1."""
        found = _ROUND.search(self.path)
        return None if found is None else int(found[1]) + 1

    @property
    def depth(self) -> int:
        return self.path.count("/")

    @property
    def is_block(self) -> bool:
        """Whether it holds other steps, which are shown under it: a child workflow does, too."""
        return self.kind in BLOCK_KINDS or self.kind == "workflow"

    @property
    def decision(self) -> JsonObject | None:
        """Of an approval."""
        return decision_of({"kind": self.kind, "output": self.output})

    def take(self, event: RunEvent) -> None:
        data = event.data
        if event.attempt > self.attempt:
            # What earlier attempts had written no longer counts.
            self.text, self.thinking, self.pieces = "", "", 0
            self.attempt = event.attempt
        match event.type:
            case "token" | "thinking" if event.attempt < self.attempt:
                pass  # from a worker that was given up
            case "token":
                self.text += str(data.get("text", ""))
                self.pieces += 1
            case "thinking":
                self.thinking += str(data.get("text", ""))
            case _ if event.type in _STEP_STATUSES:
                self._take_state(event)
            case _:
                pass

    def _take_state(self, event: RunEvent) -> None:
        data = event.data
        self.status = _STEP_STATUSES[event.type]
        self.waiting = data if self.status == "waiting" else None
        self.next_attempt_at = next_attempt_of(data)
        if self.waiting is not None:
            return
        self.kind = str(data.get("kind", self.kind))
        self.name = data.get("name") or self.name
        if self.status == "running":
            self.started_at = event.ts
            return
        self.attempt = event.attempt
        self.duration_ms = data.get("duration_ms")
        self.usage = usage_of(data)
        self.cost_usd = cost_of(data)
        self.output = data.get("output")
        self.error = error_of(data)


@dataclass
class RunStory:
    """A run as far as its events have come. `status` is None until the first one."""

    run_id: str = ""
    status: RunStatus | None = None
    started_at: datetime | None = None
    pauses: dict[str, JsonObject] = field(default_factory=dict[str, JsonObject])
    """Why what is paused is: the run under the empty path, child workflows under their steps'."""
    steps: dict[str, StepStory] = field(default_factory=dict[str, StepStory])
    """By path, in the order in which they were reached."""

    def take(self, event: RunEvent) -> StepStory | None:
        """Fold one event; returns the step that it is about."""
        self.run_id = event.run_id
        self._take_pause(event)
        if event.step_id is None:
            self._take_run(event)
            return None
        step = self.steps.setdefault(event.step_id, StepStory(event.step_id))
        step.take(event)
        return step

    def _take_pause(self, event: RunEvent) -> None:
        path = event.step_id or ""
        if event.type == "run.paused":
            self.pauses[path] = event.data
        elif event.type == "run.resumed" or _STEP_STATUSES.get(event.type, "running") not in {"running", "waiting"}:
            self.pauses.pop(path, None)

    def _take_run(self, event: RunEvent) -> None:
        match event.type:
            case "run.started":
                self.status, self.started_at = "running", event.ts
            case "run.paused":
                self.status = "paused"
            case "run.resumed" | "run.retried":
                self.status = "running"
            case "run.succeeded":
                self.status = "succeeded"
            case "run.failed":
                self.status = "failed"
            case "run.cancelled":
                self.status = "cancelled"
            case "run.terminated":
                self.status = "terminated"
            case "run.timed_out":
                self.status = "timed_out"
            case _:
                pass

    @property
    def paused(self) -> tuple[str, JsonObject] | None:
        """What keeps the run from going on, with the path: the run's own pause before those of its children."""
        return min(self.pauses.items(), key=lambda pause: pause[0], default=None)

    @property
    def running(self) -> list[StepStory]:
        """The steps at work or waiting, blocks left out."""
        return [step for step in self.steps.values() if step.status in {"running", "waiting"} and not step.is_block]

    @property
    def usage(self) -> RunUsage:
        total = RunUsage()
        for step in self._callers:
            total = total.plus(step.usage)
        return total

    @property
    def cost_usd(self) -> Decimal | None:
        costs = [step.cost_usd for step in self._callers if step.cost_usd is not None]
        return sum(costs, Decimal(0)) if costs else None

    @property
    def _callers(self) -> list[StepStory]:
        """A child workflow tells the sums of its own steps, which are counted already."""
        return [step for step in self.steps.values() if not step.is_block]


def is_echo(event: RunEvent) -> bool:
    """Whether it only tells that a child workflow is paused or resumed with its run."""
    own = event.data.get("reason") in {"limit_exceeded", "step_failed"}
    return event.type in {"run.paused", "run.resumed"} and event.step_id is not None and not own


def usage_of(data: dict[str, Json]) -> RunUsage:
    return RunUsage.model_validate(data["usage"]) if data.get("usage") else RunUsage()


def until_of(data: Mapping[str, Json]) -> datetime | None:
    """When a step that waits goes on."""
    until = data.get("until")
    return None if until is None else datetime.fromisoformat(str(until))


def next_attempt_of(data: Mapping[str, Json]) -> datetime | None:
    """When a step is tried again that failed."""
    due = data.get("next_attempt_at")
    return None if due is None else datetime.fromisoformat(str(due))


def cost_of(data: dict[str, Json]) -> Decimal | None:
    cost = data.get("cost_usd")
    return None if cost is None else Decimal(str(cost))


def error_of(data: Mapping[str, Json]) -> RunError | None:
    return RunError.model_validate(data["error"]) if data.get("error") else None


def decision_of(data: Mapping[str, Json]) -> JsonObject | None:
    """The output of an approval that was decided."""
    output = data.get("output")
    return cast("JsonObject", output) if data.get("kind") == "approval" and isinstance(output, dict) else None
