"""What a run has to tell its readers, until the next activity takes it along: watching a run costs no history."""

from collections.abc import Iterable

from studio.contracts.events import NewEvent
from studio.engine.children import full_path, told

_URGENT = {"step.waiting", "run.paused", "run.resumed"}


class Outbox:
    def __init__(self, events: Iterable[NewEvent] = (), *, path: str = "") -> None:
        """`path` is the step of the root run whose child workflow this is; events are told under it."""
        self._events = list(events)
        self._path = path
        self._handed: dict[str, list[NewEvent]] = {}
        """What the call under way of a step was given to publish."""
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
        """What the next call of the step publishes."""
        events = self.take(path)
        self._handed[path] = events
        return events

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
        return [*handed, *self.take()]

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
        handed = [event for event in self._handed.pop(path, []) if event.key() is not None]
        self._events[:0] = [*([] if published else handed), *more]

    def rest(self) -> list[NewEvent]:
        """All that is left, for whoever carries the run on."""
        return self._events
