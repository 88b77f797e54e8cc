"""Whether a value satisfies a schema (JSON Schema 2020-12), and where not.

Every schema that a reference leads to is evaluated once for each value, so that the work grows with the product of
both and not with the number of ways through the schema. Evaluations wait on a list of their own and not on Python's
stack: long chains of references are no trouble.
"""

import contextlib
from collections.abc import Sequence
from typing import cast

from studio.contracts.base import Json, JsonObject
from studio.schemas.applicators import PARTS
from studio.schemas.bulk import Bulk
from studio.schemas.kinds import is_object
from studio.schemas.leaves import LEAVES, SCHEMAS, Pattern
from studio.schemas.meter import Meter, TooMuchWork, size_of
from studio.schemas.outcomes import BAD, GOOD, Evaluation, Outcome, Problem, Request, Rule, Tools, Work
from studio.schemas.references import METASCHEMA, References
from studio.schemas.wording import shortened, shown

MAX_WAITING = 5_000
"""Evaluations inside each other: of schemas that refer to others, and of values inside values."""


class Evaluator:
    """Checks values against one schema, all for one meter's steps. The values must stay as they are meanwhile."""

    def __init__(self, root: Json, meter: Meter) -> None:
        self._root = root
        self._meter = meter
        self._references = References(root if is_object(root) else {})
        self._rules: dict[int, Rule] = {}
        self._targets: set[int] = {id(root)}
        self._known: dict[tuple[int, int | str, bool, bool], Outcome] = {}
        self._bulk = Bulk(self._references, meter)
        self._tools = Tools(meter, self._bulk, self._target)

    def problems(self, value: Json, schema: Json = None) -> Sequence[Problem]:
        """At most `MAX_ERRORS`; `schema` is a part of the document. Raises `TooMuchWork` and `LeadsNowhere`."""
        asked = self._root if schema is None else schema
        return self._outcome(self._begin(Request(asked, value, brief=False, noting=False))).problems

    def problems_of_each(self, values: list[Json]) -> Sequence[Problem]:
        """The same for many, by their index."""
        rule = _rule_of({"items": self._root}, self._meter)
        request = Request(rule.schema, values, brief=False, noting=False)
        return self._outcome(self._evaluate(rule, request)).problems

    def _outcome(self, step: Outcome | Work) -> Outcome:
        waiting: list[Work] = []
        while True:
            try:
                if isinstance(step, Outcome):
                    if not waiting:
                        return step
                    request = waiting[-1].send(step)
                else:
                    waiting.append(step)
                    if len(waiting) > MAX_WAITING:
                        raise TooMuchWork
                    request = next(step)
            except StopIteration as end:
                waiting.pop()
                step = cast("Outcome", end.value)
            else:
                step = self._begin(request)

    def _begin(self, request: Request) -> Outcome | Work:
        schema = request.schema
        self._meter.spend(5)
        if schema is METASCHEMA:
            return self._metaschema(request.value)
        if isinstance(schema, bool):
            return GOOD if schema else _forbidden(request.value)
        rule = self._rules.get(id(schema))
        if rule is None:
            rule = self._rules[id(schema)] = _rule_of(schema, self._meter)
        if id(schema) in self._targets:
            known = self._known.get((id(schema), _identity(request.value), request.brief, request.noting))
            if known is not None:
                return known
        if not rule.parts:
            return self._plain(rule, request)
        if not request.noting and isinstance(request.value, list | dict) and self._bulk.fits(schema, request.value):
            return GOOD
        return self._evaluate(rule, request)

    def _target(self, schema: JsonObject, keyword: str) -> Json:
        target = self._references.target(schema, keyword)
        self._targets.add(id(target))
        return target

    def _metaschema(self, value: Json) -> Outcome:
        self._meter.spend(20 * size_of(value, self._meter.left // 20 + 1))
        with contextlib.suppress(ValueError):  # half of a surrogate pair, or an integer of thousands of digits
            if SCHEMAS.is_valid(value):
                return GOOD
        return Outcome((Problem((), "$ref", f"{shown(value)} is not a JSON Schema"),))

    def _plain(self, rule: Rule, request: Request) -> Outcome:
        problems: list[Problem] = []
        self._meter.spend(len(rule.leaves) >> 2)
        for keyword, check in rule.leaves:
            if not check.holds(request.value):
                if request.brief:
                    return BAD
                problems.append(Problem((), keyword, shortened(check.words(request.value))))
        return Outcome(tuple(problems)) if problems else GOOD

    def _evaluate(self, rule: Rule, request: Request) -> Work:
        held = Evaluation(rule, request, self._tools)
        held.problems += self._plain(rule, request).problems
        for part in rule.parts:
            if held.over:
                break
            self._meter.spend(2)
            yield from part(held)
        outcome = held.outcome()
        if id(rule.schema) in self._targets:
            self._known[id(rule.schema), _identity(request.value), request.brief, request.noting] = outcome
        return outcome


def _identity(value: Json) -> int | str:
    """Of a value that stays. Which equal texts are one object depends on the process: JSON readers share them."""
    return value if isinstance(value, str) else id(value)


def _rule_of(schema: JsonObject, meter: Meter) -> Rule:
    properties: JsonObject = schema.get("properties", {})
    patterns: JsonObject = schema.get("patternProperties", {})
    meter.spend(4 + len(schema) + len(properties))
    return Rule(
        schema=schema,
        leaves=[(keyword, make(schema[keyword], meter)) for keyword, make in LEAVES.items() if keyword in schema],
        properties=sorted(properties.items(), key=lambda entry: _weight(entry[1])),
        patterns=[(Pattern(source, meter), inner) for source, inner in patterns.items()],
        parts=list(dict.fromkeys(part for keyword, part in PARTS.items() if keyword in schema)),
        noting="unevaluatedItems" in schema or "unevaluatedProperties" in schema,
    )


def _weight(schema: Json) -> int:
    """What tells kinds of objects apart is looked at first."""
    if not is_object(schema) or "const" in schema or "enum" in schema:
        return 0
    return 1 if all(keyword in LEAVES for keyword in schema) else 2


def _forbidden(value: Json) -> Outcome:
    return Outcome((Problem((), "false", f"nothing is allowed here, not {shown(value)}"),))
