"""Whether something is a JSON Schema that values can be checked against: found when it is stored."""

import contextlib
import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, cast

from studio.contracts.base import Json, JsonObject
from studio.foreign_json import has_surrogates
from studio.schemas.defaults import Defaults
from studio.schemas.evaluation import Evaluator
from studio.schemas.kinds import is_object
from studio.schemas.leaves import SCHEMAS, TYPES, Pattern
from studio.schemas.meter import Meter, TooMuchWork, size_of
from studio.schemas.outcomes import MAX_ERRORS, Problem
from studio.schemas.references import METASCHEMA, REFERENCES, LeadsNowhere, Place, References, children
from studio.schemas.wording import shortened, shown

MAX_VALUES = 20_000
MAX_DEPTH = 100
_VALUES_A_STEP = 2
_STEPS_A_WRONG_VALUE = 8
_STEPS_A_PART = 2
_STEPS_A_REFERENCE = 8
_IN_PLACE = frozenset({"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas"})


class _Part(NamedTuple):
    place: Place
    schema: JsonObject


def schema_problems(schema: Json, meter: Meter) -> list[Problem]:
    """Its size, its form, its regular expressions, its references, and whether its defaults satisfy it."""
    if _too_deep(schema):  # first: what is very deep has no size
        return [_problem((), f"the schema is nested more than {MAX_DEPTH} deep")]
    size = size_of(schema, MAX_VALUES)
    if size > MAX_VALUES:
        return [_problem((), f"the schema holds more than {MAX_VALUES} values")]
    try:
        text = json.dumps(schema, ensure_ascii=False, allow_nan=False)
    except ValueError:  # not finite, or of more digits than Python reads
        return [_problem((), "the schema holds a number that JSON cannot say")]
    if has_surrogates(text):
        return [_problem((), "the schema holds half of a surrogate pair, which is no character")]
    try:
        return [] if isinstance(schema, bool) else _problems(cast("JsonObject", schema), size, meter)
    except TooMuchWork:
        return [_problem((), "the schema takes too long to check: it, or all of its document's together, is too much")]


def _problems(schema: JsonObject, size: int, meter: Meter) -> list[Problem]:
    """Raises `TooMuchWork`."""
    meter.spend(size // _VALUES_A_STEP)
    if SCHEMAS.is_valid(schema):
        return _Check(schema, meter).problems()
    meter.spend(size * _STEPS_A_WRONG_VALUE)  # all errors are made before the first is given
    return [_form_problem(error) for error, _ in zip(SCHEMAS.iter_errors(schema), range(MAX_ERRORS), strict=False)]


def _problem(place: Place, message: str) -> Problem:
    return Problem(place, "json_schema", shortened(message))


def _too_deep(schema: Json) -> bool:
    level: list[Any] = [schema]
    for _ in range(MAX_DEPTH + 1):
        level = [held for held in level if isinstance(held, dict | list)]
        if not level:
            return False
        level = [inner for held in level for inner in _inside(held)]
    return True


def _inside(held: Json) -> Iterable[Json]:
    return held.values() if is_object(held) else held


def _form_problem(error: Any) -> Problem:
    place = tuple(cast("Iterable[str | int]", error.instance_path))
    instance: Json = error.instance
    if place and place[-1] == "type" and isinstance(instance, str):
        return _problem(place, f"{shown(instance)} is not a type: {', '.join(TYPES)}")
    if len(place) == 0 or isinstance(instance, dict | bool):
        return _problem(place, str(error.message))
    return _problem(
        place, str(error.message).replace("schemas listed in the 'anyOf' keyword", "forms that are allowed here")
    )


class _Check:
    def __init__(self, root: JsonObject, meter: Meter) -> None:
        self._root = root
        self._meter = meter
        self._references = References(root)
        self._forms = dict.fromkeys(map(id, self._inside(root)), True)
        """Whether something is a schema, by its identity. What stands where schemas do is: the whole was checked."""

    def problems(self) -> list[Problem]:
        parts = [*self._parts()]
        found: list[Problem] = []
        for part in parts:
            found += self._of(part)
            if len(found) >= MAX_ERRORS:
                return found[:MAX_ERRORS]
        found = found or self._endless(parts)
        return found or [*self._defaults(parts)][:MAX_ERRORS]

    def _parts(self) -> Iterator[_Part]:
        pending = [_Part((), self._root)]
        met: set[int] = set()
        while pending:
            part = pending.pop()
            if id(part.schema) in met:
                continue
            met.add(id(part.schema))
            self._meter.spend(_STEPS_A_PART)
            yield part
            inner = [(place, held) for place, held in children(part.schema) if is_object(held)]
            pending += [_Part((*part.place, *place), held) for place, held in reversed(inner)]
            pending += self._targets(part)

    def _targets(self, part: _Part) -> Iterator[_Part]:
        """What is referred to may stand where no schema is looked for."""
        for keyword in REFERENCES:
            if keyword in part.schema:
                with contextlib.suppress(LeadsNowhere):
                    target = self._references.target(part.schema, keyword)
                    if is_object(target) and target is not METASCHEMA and self._is_schema(target):
                        yield _Part((*part.place, keyword), target)

    def _inside(self, root: JsonObject) -> Iterator[JsonObject]:
        pending: list[Json] = [root]
        while pending:
            held = pending.pop()
            if is_object(held):
                yield held
                pending += [inner for _, inner in children(held)]

    def _is_schema(self, target: JsonObject) -> bool:
        if id(target) not in self._forms:
            self._meter.spend(size_of(target, MAX_VALUES) // _VALUES_A_STEP)
            self._forms[id(target)] = SCHEMAS.is_valid(target)
        return self._forms[id(target)]

    def _of(self, part: _Part) -> Iterator[Problem]:
        named: JsonObject = part.schema.get("patternProperties", {})
        sources: list[tuple[Place, str]] = [(("patternProperties", source), source) for source in named]
        if "pattern" in part.schema:
            sources.append((("pattern",), part.schema["pattern"]))
        for place, source in sources:
            try:
                Pattern(source, self._meter)
            except ValueError as error:
                yield _problem((*part.place, *place), str(error))
        for keyword in REFERENCES:
            if keyword in part.schema:
                yield from self._reference(part, keyword)

    def _reference(self, part: _Part, keyword: str) -> Iterator[Problem]:
        self._meter.spend(_STEPS_A_REFERENCE)
        reference, place = part.schema[keyword], (*part.place, keyword)
        try:
            target = self._references.target(part.schema, keyword)
        except LeadsNowhere:
            yield _problem(
                place,
                f"{keyword} {shown(reference)} leads nowhere: nothing is fetched, only what the schema holds is found",
            )
            return
        if keyword == "$dynamicRef" and self._references.is_ambiguous(reference):
            yield _problem(place, f"{keyword} {shown(reference)} could mean more than one schema: use $ref")
        if is_object(target) and target is not METASCHEMA and not self._is_schema(target):
            yield _problem(place, f"{keyword} {shown(reference)} leads to what is not a JSON Schema")

    def _endless(self, parts: list[_Part]) -> list[Problem]:
        """A schema that asks of a value that the value satisfies that schema."""
        state: dict[int, bool] = {}
        for part in parts:
            stack: list[tuple[JsonObject, Iterator[JsonObject]]] = []
            if id(part.schema) not in state:
                state[id(part.schema)] = False
                stack.append((part.schema, self._in_place(part.schema)))
            while stack:
                schema, inner = stack[-1]
                following = next(inner, None)
                if following is None:
                    state[id(schema)] = True
                    stack.pop()
                elif id(following) not in state:
                    state[id(following)] = False
                    stack.append((following, self._in_place(following)))
                elif not state[id(following)]:
                    return [_problem(part.place, "the schema refers to itself without end")]
        return []

    def _in_place(self, schema: JsonObject) -> Iterator[JsonObject]:
        held: list[Json] = [inner for place, inner in children(schema) if place[0] in _IN_PLACE]
        held += [self._references.target(schema, keyword) for keyword in REFERENCES if keyword in schema]
        for inner in held:
            if is_object(inner) and inner is not METASCHEMA:
                yield inner

    def _defaults(self, parts: list[_Part]) -> Iterator[Problem]:
        holding = [part for part in parts if "default" in part.schema]
        if not holding:
            return
        filling = Defaults(self._root, self._meter)
        evaluator = Evaluator(self._root, self._meter)
        for place, schema in holding:
            value = filling.filled(schema["default"], schema)
            for problem in evaluator.problems(value, schema):
                inside = "".join(f"/{part}" for part in problem.place)
                at = f" at {inside}" if inside else ""
                yield _problem((*place, "default"), f"the default does not satisfy its schema{at}: {problem.message}")
