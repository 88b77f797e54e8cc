"""The keywords that hold schemas, see JSON Schema 2020-12 (core), sections 10 and 11."""

from collections.abc import Callable, Generator, Sequence

from studio.contracts.base import Json, JsonObject
from studio.schemas.kinds import is_array, is_object
from studio.schemas.outcomes import GOOD, Evaluation, Outcome, Part, Request
from studio.schemas.references import REFERENCES
from studio.schemas.wording import plural, shown, surplus


def reference(held: Evaluation) -> Part:
    for keyword in REFERENCES:
        if keyword in held.schema:
            target = held.tools.target(held.schema, keyword)
            held.take((yield held.same(target, brief=held.brief)))


def all_of(held: Evaluation) -> Part:
    for inner in held.schema["allOf"]:
        held.take((yield held.same(inner, brief=held.brief)))
        if held.over:
            return


def any_of(held: Evaluation) -> Part:
    found = False
    for inner in held.schema["anyOf"]:
        outcome = yield held.same(inner, brief=True)
        if outcome.valid:
            found = True
            held.take(outcome)
            if not held.noting:
                return
    if not found:
        held.fail("anyOf", f"{shown(held.value)} fits none of the {len(held.schema['anyOf'])} schemas of anyOf")


def one_of(held: Evaluation) -> Part:
    fitting: list[int] = []
    for index, inner in enumerate(held.schema["oneOf"]):
        outcome = yield held.same(inner, brief=True)
        if outcome.valid:
            fitting.append(index)
            held.take(outcome)
            if len(fitting) > 1:
                break
    if len(fitting) != 1:
        which = f"both {fitting[0]} and {fitting[1]}" if fitting else "none"
        held.fail("oneOf", f"{shown(held.value)} fits {which} of the {len(held.schema['oneOf'])} schemas of oneOf")


def not_(held: Evaluation) -> Part:
    outcome = yield held.same(held.schema["not"], brief=True)
    if outcome.valid:
        held.fail("not", f"{shown(held.value)} is what `not` rules out")


def if_(held: Evaluation) -> Part:
    outcome = yield held.same(held.schema["if"], brief=True)
    held.take(outcome if outcome.valid else GOOD)
    branch = "then" if outcome.valid else "else"
    if branch in held.schema:
        held.take((yield held.same(held.schema[branch], brief=held.brief)))


def dependent_schemas(held: Evaluation) -> Part:
    if not is_object(held.value):
        return
    dependent = held.schema["dependentSchemas"]
    held.meter.spend(len(dependent))
    for name, inner in dependent.items():
        if name in held.value:
            held.take((yield held.same(inner, brief=held.brief)))


def properties(held: Evaluation) -> Part:
    """With `patternProperties` and `additionalProperties`, which depend on it."""
    if not is_object(held.value):
        return
    value = held.value
    held.meter.spend(len(held.rule.properties) >> 3)
    for name, inner in held.rule.properties:
        if name in value:
            held.take((yield held.below(inner, value[name])), (name,))
            if held.over:
                return
    known: JsonObject = held.schema.get("properties", {})
    if held.noting:
        held.note_names(known.keys() & value.keys())
    if held.rule.patterns:
        names = yield from _pattern_properties(held, value, known)
    elif "additionalProperties" in held.schema:
        held.meter.spend(len(value) >> 4)
        names = [name for name in value if name not in known]
    else:
        return
    if not held.over:
        yield from _additional_properties(held, value, names)


def _pattern_properties(
    held: Evaluation, value: JsonObject, known: JsonObject
) -> Generator[Request, Outcome, list[str]]:
    """Gives the names that nothing is about yet."""
    left: list[str] = []
    for name, given in value.items():
        held.meter.spend(1)
        matched = name in known
        for pattern, inner in held.rule.patterns:
            if pattern.found_in(name):
                matched = True
                if held.noting:
                    held.note_names([name])
                held.take((yield held.below(inner, given)), (name,))
                if held.over:
                    return left
        if not matched:
            left.append(name)
    return left


def _additional_properties(held: Evaluation, value: JsonObject, names: list[str]) -> Part:
    if "additionalProperties" not in held.schema:
        return
    if held.noting:
        held.names = None
    rest = held.schema["additionalProperties"]
    if rest is False and names:
        held.fail("additionalProperties", surplus(names))
    elif names:
        yield from _each(held, rest, [value[name] for name in names], names)


def _each(held: Evaluation, schema: Json, values: list[Json], places: Sequence[str | int]) -> Part:
    for start, end, good in held.tools.bulk.slices(schema, values):
        for index in () if good else range(start, end):
            held.take((yield held.below(schema, values[index])), (places[index],))
            if held.over:
                return


def property_names(held: Evaluation) -> Part:
    if not is_object(held.value):
        return
    for name in held.value:
        outcome = yield Request(held.schema["propertyNames"], name, brief=held.brief, noting=False)
        for problem in outcome.problems[:1]:
            held.fail("propertyNames", f"the name {shown(name)} is not allowed: {problem.message}")
        if held.over:
            return


def unevaluated_properties(held: Evaluation) -> Part:
    if not is_object(held.value) or held.names is None:
        return
    value = held.value
    held.meter.spend(len(value))
    inner = held.schema["unevaluatedProperties"]
    left = [name for name in value if name not in held.names]
    held.names = None
    if inner is False:
        if left:
            held.fail("unevaluatedProperties", surplus(left))
        return
    for name in left:
        held.take((yield held.below(inner, value[name])), (name,))
        if held.over:
            return


def items(held: Evaluation) -> Part:
    """With `prefixItems`, on which it depends."""
    if not is_array(held.value):
        return
    value = held.value
    prefix: list[Json] = held.schema.get("prefixItems", [])
    for index, (inner, item) in enumerate(zip(prefix, value, strict=False)):
        held.take((yield held.below(inner, item)), (index,))
        if held.over:
            return
    if held.noting and held.items is not None:
        held.items.update(range(min(len(prefix), len(value))))
    if "items" not in held.schema:
        return
    if held.noting:
        held.items = None
    rest = value[len(prefix) :] if prefix else value
    yield from _each(held, held.schema["items"], rest, range(len(prefix), len(value)))


def contains(held: Evaluation) -> Part:
    if not is_array(held.value):
        return
    least, most = held.schema.get("minContains", 1), held.schema.get("maxContains")
    found = 0
    for index, item in enumerate(held.value):
        outcome = yield Request(held.schema["contains"], item, brief=True, noting=False)
        if outcome.valid:
            found += 1
            if held.noting and held.items is not None:
                held.items.add(index)
            if (found >= least and most is None and not held.noting) or (most is not None and found > most):
                break
    if found < least:
        held.fail("contains", f"has {plural(found, 'item')} of the kind that `contains` asks for, not at least {least}")
    if most is not None and found > most:
        held.fail("contains", f"has more than {plural(most, 'item')} of the kind that `contains` asks for")


def unevaluated_items(held: Evaluation) -> Part:
    if not is_array(held.value) or held.items is None:
        return
    value, done = held.value, held.items
    held.meter.spend(len(value))
    inner = held.schema["unevaluatedItems"]
    held.items = None
    for index, item in enumerate(value):
        if index not in done:
            held.take((yield held.below(inner, item)), (index,))
            if held.over:
                return


PARTS: dict[str, Callable[[Evaluation], Part]] = {
    "properties": properties,
    "patternProperties": properties,
    "additionalProperties": properties,
    "$ref": reference,
    "$dynamicRef": reference,
    "allOf": all_of,
    "anyOf": any_of,
    "oneOf": one_of,
    "not": not_,
    "if": if_,
    "dependentSchemas": dependent_schemas,
    "propertyNames": property_names,
    "prefixItems": items,
    "items": items,
    "contains": contains,
    "unevaluatedItems": unevaluated_items,
    "unevaluatedProperties": unevaluated_properties,
}
