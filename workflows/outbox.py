"""What a run has to tell its readers, until the next activity takes it along: watching a run costs no history."""

from collections.abc import Iterable

from studio.contracts.events import NewEvent
from studio.contracts.runs import block_of
from studio.engine.children import full_path, told

_URGENT = {"step.waiting", "run.paused", "run.resumed"}
_BEGINS = {"run.started", "run.retried", "step.started"}
_AT_ONCE = ""
"""Stands where a call's path does, for what is published while no call does: no step has it."""


class Outbox:
    def __init__(self, events: Iterable[NewEvent] = (), *, path: str = "") -> None:
        """`path` is the step of the root run whose child workflow this is; events are told under it."""
        self._events = list(events)
        self._path = path
        self._handed: dict[str, list[NewEvent]] = {}
        """What the call under way of a step was given to publish."""
        self._begun: dict[str, NewEvent] = {}
        """The starts, by path (the run's by an empty one), that were handed out and perhaps not published yet."""
        self._starting: set[str] = set()
        """Steps whose call was asked for and has not begun: their own first call carries their start."""

    def take_over(self, events: Iterable[NewEvent], starting: Iterable[str]) -> None:
        """What an earlier execution of the run left: already told under the root run's paths."""
        self._events += events
        self._starting.update(starting)

    def put(self, event: NewEvent) -> None:
        shown = told(event, self._path)
        if shown is not None:
            self._events.append(shown)

    def full_path(self, path: str) -> str:
        """A path of this workflow as the root run names it."""
        return full_path(self._path, path)

    def await_start(self, path: str) -> None:
        self._starting.add(path)

    def is_starting(self, path: str) -> bool:
        return path in self._starting

    def begin(self, path: str) -> None:
        self._starting.discard(path)

    def hand_to(self, path: str) -> list[NewEvent]:
        """What the next call of the step publishes, the call before it having succeeded."""
        self._forget(path)
        return self._hand(path, self.take(path))

    def _hand(self, path: str, taken: list[NewEvent]) -> list[NewEvent]:
        """The events, and before them the starts of what is around them. Calls that begin together publish in any
        order, and nothing may be published before what it is inside of.
        """
        keys = {event.key() for event in taken}
        around: dict[str, NewEvent] = {}
        for event in taken if self._begun else ():
            at = event.step_id
            while at:
                at = block_of(at)
                if at in self._begun and self._begun[at].key() not in keys:
                    around[at] = self._begun[at]
        self._begun |= {event.step_id or "": event for event in taken if event.type in _BEGINS}
        events = [*(around[block] for block in sorted(around, key=len)), *taken]
        self._handed[path] = events
        return events

    def _forget(self, path: str) -> list[NewEvent]:
        """What the call of the step was given, which it has published."""
        published = self._handed.pop(path, [])
        for event in published:
            begun = self._begun.get(event.step_id or "")
            if begun is not None and begun.key() == event.key():
                del self._begun[event.step_id or ""]
        return published

    def take(self, path: str | None = None) -> list[NewEvent]:
        """What is to be published, without the starts of steps whose own first call is about to carry them."""
        others = {self.full_path(step) for step in self._starting if step != path}
        events = [event for event in self._events if event.step_id not in others]
        self._events = [event for event in self._events if event.step_id in others]
        return events

    def take_at_once(self) -> list[NewEvent]:
        """What is to be published now. What calls under way were given goes before it, since they may not have begun:
        whichever publishes an event first, it is told once and in its order.
        """
        handed = [event for events in self._handed.values() for event in events if event.key() is not None]
        self._handed = {path: [] for path in self._handed}
        return self._hand(_AT_ONCE, [*handed, *self.take()])

    def settle_at_once(self) -> None:
        """What was taken at once is published."""
        self._forget(_AT_ONCE)

    def is_due(self, *, at_rest: bool) -> bool:
        """Whether the run should tell at once: nothing is under way that will take it along, or somebody outside is
        waited for and must hear of it.
        """
        held = {self.full_path(step) for step in self._starting}
        due = [event for event in self._events if event.step_id not in held]
        return bool(due) and (at_rest or any(event.type in _URGENT for event in due))

    def settle(self, path: str, *, published: bool, more: Iterable[NewEvent] = ()) -> None:
        """The step's call is over. When it perhaps never ran, what it was given goes out again: publishing an event
        that has a key a second time changes nothing.
        """
        handed = self._forget(path) if published else self._handed.pop(path, [])
        again = [] if published else [event for event in handed if event.key() is not None]
        self._events[:0] = [*again, *more]

    def rest(self) -> list[NewEvent]:
        """All that is left, for whoever carries the run on."""
        return self._events
