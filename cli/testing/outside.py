"""What a case sends to its run from outside: signals, decisions, a pause, a cancel."""

from collections.abc import Sequence

from cli.testing.cases import Case, GivenAnswer, GivenResolution
from cli.testing.places import PathKey, Places
from studio.contracts.base import JsonObject
from studio.contracts.interaction import Decision, Resolution
from studio.engine import memory_people
from studio.engine.memory_people import GivenDecision, RequestRefused
from studio.engine.state import CancelRequested, PauseRequested, Request, ResumeRequested, SignalReceived
from studio.errors import FieldError


class Answers:
    """The people of one case."""

    def __init__(
        self,
        answers: Sequence[tuple[PathKey, GivenAnswer]],
        resolves: Sequence[tuple[PathKey, list[GivenResolution]]] = (),
    ) -> None:
        self._answers = sorted(answers, key=lambda found: -found[0].weight)
        self._given: set[str] = set()
        self._resolves = sorted(resolves, key=lambda found: -found[0].weight)
        """Each key with what is left to be said."""

    def decide(self, path: str, shown: JsonObject) -> GivenDecision | None:
        """Raises `RequestRefused`."""
        key, given = next((found for found in self._answers if found[0].matches(path)), (None, None))
        if key is None or given is None:
            return None
        self._given.add(key.text)
        edit = [given.edit] if "edit" in given.model_fields_set else []
        if edit and not shown["allow_edit"]:
            raise RequestRefused(f"The API would refuse {key.text!r}: the approval {path} does not allow an edit.")
        decision = Decision(decision=given.decision, comment=given.comment, edit=edit, by=given.by)
        return GivenDecision(decision, given.after)

    def resolve(self, path: str, parked: JsonObject) -> memory_people.GivenResolution | None:
        """Raises `RequestRefused`."""
        found = next((found for found in self._resolves if found[0].matches(path)), None)
        if found is None or not found[1]:
            return None
        key, given = found[0], found[1].pop(0)
        if given.action not in parked["actions"]:
            raise RequestRefused(f"The API would refuse {key.text!r}: {path} cannot be skipped.")
        resolution = Resolution(action=given.action, output=given.output, by=given.by)
        return memory_people.GivenResolution(resolution, given.after)

    def leftovers(self) -> list[str]:
        """The decisions and resolutions that nothing waited for."""
        unasked = sorted(key.text for key, _ in self._answers if key.text not in self._given)
        unsaid = sorted(key.text for key, left in self._resolves if left)
        return [
            *(f"{text!r} decided nothing: no such approval waited" for text in unasked),
            *(f"{text!r} resolved nothing more: no such step waited for it" for text in unsaid),
        ]


def read_answers(case: Case, places: Places) -> Answers | list[FieldError]:
    """The people, or what is wrong with what the case sends; `loc` is relative to the case."""
    unknown = [places.unknown(key, "approval", "decisions", "waits for a decision") for key in case.decisions]
    errors = [error for error in unknown if error is not None]
    names = places.signals()
    for index, signal in enumerate(case.signals):
        if signal.name not in names:
            hint = f"they wait for {', '.join(sorted(names))}" if names else "none waits for any"
            message = f"no step waits for the signal {signal.name!r}"
            errors.append(FieldError(loc=["signals", index, "name"], msg=message, type="unknown_signal", hint=hint))
    resolves = [(PathKey(key), list(said) if isinstance(said, list) else [said]) for key, said in case.resolves.items()]
    return errors or Answers([(PathKey(key), given) for key, given in case.decisions.items()], resolves)


def requests_of(case: Case) -> list[Request]:
    """What comes at a moment that the case names."""
    found: list[Request] = [
        SignalReceived(case.clock + signal.after, signal.name, signal.payload) for signal in case.signals
    ]
    if case.pause_after is not None:
        found.append(PauseRequested(case.clock + case.pause_after))
    if case.resume_after is not None:
        found.append(ResumeRequested(case.clock + case.resume_after))
    if case.cancel_after is not None:
        found.append(CancelRequested(case.clock + case.cancel_after))
    return found
