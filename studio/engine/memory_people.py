"""Those outside a run in virtual time, and what it waits for of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from studio.contracts.base import JsonObject
from studio.contracts.interaction import Decision, Resolution
from studio.contracts.runs import StepRun
from studio.engine.state import RunState


@dataclass(frozen=True)
class GivenDecision:
    decision: Decision
    after: timedelta = timedelta()
    """How long the step waits for it."""


@dataclass(frozen=True)
class GivenResolution:
    resolution: Resolution
    after: timedelta = timedelta()
    """How long the step waits for it."""


class RequestRefused(Exception):
    """What somebody says to a run and the API would refuse."""


class People(Protocol):
    """Stands for those who decide approvals and resolve what is parked."""

    def decide(self, path: str, shown: JsonObject) -> GivenDecision | None:
        """Asked each time a step begins to wait; `shown` is the data of its `step.waiting`. None when nobody answers.
        What it raises ends the run's `run`.
        """
        ...

    def resolve(self, path: str, parked: JsonObject) -> GivenResolution | None:
        """Likewise, each time a step is parked."""
        ...


class Nobody:
    """Never answers."""

    def decide(self, path: str, shown: JsonObject) -> GivenDecision | None:
        return None

    def resolve(self, path: str, parked: JsonObject) -> GivenResolution | None:
        return None


def waits_for_signal(step: StepRun, name: str) -> bool:
    return step.waiting is not None and step.waiting["for"] == "signal" and step.waiting["name"] == name


def awaited(workflows: Iterable[tuple[str, RunState]]) -> list[str]:
    """What each workflow waits for, for people to read; the workflows are by the step that runs them."""
    found: list[str] = []
    for around, state in workflows:
        place = f"{around}/" if around else ""
        for step in state.steps.values():
            waiting = step.waiting or {}
            if waiting.get("for") == "signal":
                found.append(f"{place}{step.id} waits for the signal {waiting['name']!r}")
            elif waiting.get("for") == "approval":
                found.append(f"{place}{step.id} waits for a decision")
            elif waiting.get("for") == "resolve":
                error = waiting["error"]
                found.append(f"{place}{step.id} failed ({error['type']}: {error['message']}) and waits to be resolved")
        if state.paused is not None and (state.held or state.paused.reason != "step_failed"):
            why = f", since a limit is reached: {state.paused.limit}" if state.paused.limit else ""
            held = ", ".join(f"{place}{path}" for path in state.held) or "no step"
            found.append(f"{around or 'the run'} is paused{why}, and holds back {held}")
    return found
