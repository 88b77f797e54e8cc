"""What evaluating a schema asks for, and what comes of it."""

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import NamedTuple

from studio.contracts.base import Json, JsonObject
from studio.schemas.bulk import Bulk
from studio.schemas.leaves import Check, Pattern
from studio.schemas.meter import Meter
from studio.schemas.references import Place
from studio.schemas.wording import shortened

MAX_ERRORS = 20


class Problem(NamedTuple):
    """`place` is relative to the value that was evaluated."""

    place: Place
    keyword: str
    message: str


class Outcome(NamedTuple):
    """`names` and `items` are what `unevaluated…` need not look at: names, or indexes; None stands for all of them."""

    problems: tuple[Problem, ...] = ()
    names: frozenset[str] | None = frozenset()
    items: frozenset[int] | None = frozenset()

    @property
    def valid(self) -> bool:
        return not self.problems


GOOD = Outcome()
BAD = Outcome((Problem((), "", ""),))
"""To a brief request."""


class Request(NamedTuple):
    """`brief` stops at the first problem. `noting` fills in `names` and `items`."""

    schema: Json
    value: Json
    brief: bool
    noting: bool


Work = Generator[Request, Outcome, Outcome]
Part = Generator[Request, Outcome, None]


class Tools(NamedTuple):
    """What the keywords of one document share."""

    meter: Meter
    bulk: Bulk
    target: Callable[[JsonObject, str], Json]
    """Where a schema's `$ref` leads, see `References.target`."""


class Rule(NamedTuple):
    """One schema, taken apart when it is first met."""

    schema: JsonObject
    leaves: Sequence[tuple[str, Check]]
    properties: Sequence[tuple[str, Json]]
    patterns: Sequence[tuple[Pattern, Json]]
    parts: "Sequence[Callable[[Evaluation], Part]]"
    noting: bool


class Evaluation:
    """Of one schema and one value; the keywords add what they find."""

    def __init__(self, rule: Rule, request: Request, tools: Tools) -> None:
        self.rule = rule
        self.tools = tools
        self.meter = tools.meter
        self.schema = rule.schema
        self.value = request.value
        self.brief = request.brief
        self.noting = request.noting or rule.noting
        self.problems: list[Problem] = []
        self.names: set[str] | None = set()
        self.items: set[int] | None = set()

    @property
    def over(self) -> bool:
        return bool(self.problems) and (self.brief or len(self.problems) >= MAX_ERRORS)

    def fail(self, keyword: str, message: str, place: Place = ()) -> None:
        self.meter.spend(2)
        self.problems.append(Problem(place, keyword, shortened(message)))

    def take(self, outcome: Outcome, place: Place = ()) -> None:
        """Of a value below, when there is a place; else of the same value."""
        for problem in outcome.problems[: MAX_ERRORS - len(self.problems)]:
            self.problems.append(Problem((*place, *problem.place), problem.keyword, problem.message))
        if not place and self.noting and outcome.valid:
            self.note(outcome)

    def note(self, outcome: Outcome) -> None:
        self.meter.spend((len(outcome.names or ()) + len(outcome.items or ())) >> 2)
        if outcome.names is None:
            self.names = None
        else:
            self.note_names(outcome.names)
        if outcome.items is None:
            self.items = None
        elif self.items is not None:
            self.items |= outcome.items

    def note_names(self, names: Iterable[str]) -> None:
        if self.names is not None:
            self.names |= set(names)

    def same(self, schema: Json, *, brief: bool) -> Request:
        return Request(schema, self.value, brief, self.noting)

    def below(self, schema: Json, value: Json) -> Request:
        return Request(schema, value, self.brief, noting=False)

    def outcome(self) -> Outcome:
        self.meter.spend((len(self.names or ()) + len(self.items or ())) >> 2)
        if (
            not self.problems
            and not self.names
            and not self.items
            and self.names is not None
            and self.items is not None
        ):
            return GOOD
        names = None if self.names is None else frozenset(self.names)
        return Outcome(tuple(self.problems), names, None if self.items is None else frozenset(self.items))
