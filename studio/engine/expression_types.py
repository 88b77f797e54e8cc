"""What can be known of an expression's types before a run: constants are evaluated, and so is what names only the
input's declared fields and the like, over samples of their types. Whatever is not certain is left alone.
"""

from datetime import datetime
from typing import Any, Literal, NamedTuple

from studio.contracts.base import Json, JsonObject
from studio.engine.schema_samples import KINDS_OF_NUMBER, UNKNOWN, sample, unknown_field
from studio.expressions import Expression, ExpressionError, expressions_in, type_word

Wanted = Literal["true or false", "a list", "an RFC 3339 time"]
_RUN = {"id": "run_1"}


class Fault(NamedTuple):
    message: str
    type: str
    hint: str | None = None


class ExpressionTypes:
    """Of the expressions of one workflow. `input_schema` must be a schema that can be read, or None."""

    def __init__(self, input_schema: JsonObject | None) -> None:
        self._schema = input_schema
        self._scopes: list[dict[str, Json]] = [self._sampled(turn) for turn in range(KINDS_OF_NUMBER)]

    def _sampled(self, turn: int) -> dict[str, Json]:
        scope: dict[str, Json] = {"run": _RUN, "iteration": 0, "index": 0}
        given = sample(self._schema, turn)
        return scope if given is UNKNOWN else scope | {"input": given}

    def fault(self, expression: Expression, wanted: Wanted | None = None, *, first: bool = False) -> Fault | None:
        """What is certainly wrong with it, where `wanted` says what it must give. `first`: no step comes before."""
        return (
            self._wrong_field(expression)
            or (self._no_step_before(expression) if first else None)
            or self._wrong_types(expression, wanted)
        )

    def _no_step_before(self, expression: Expression) -> Fault | None:
        fields = [path for path in expression.paths if path[0] == "prev" and len(path) > 1]
        if not fields:
            return None
        outcomes = [_outcome(expression, scope | {"prev": None}) for scope in self._scopes]
        failed = all(isinstance(outcome, ExpressionError) and outcome.mistyped for outcome in outcomes)
        if not failed and expression.names.guarded:
            return None
        message = f"{expression.source}: no step comes before this one, so `prev` is null"
        return Fault(message, "early_reference", "refer to `input`, or to a step that comes before")

    def _wrong_field(self, expression: Expression) -> Fault | None:
        tested = expression.names.tested
        for path in sorted(expression.paths):
            if any(path[:end] in tested for end in range(1, len(path) + 1)):
                continue  # it asks for the very field
            found = unknown_field(self._schema, path[1:]) if path[0] == "input" else None
            if found is not None:
                field, hint = found
                return Fault(
                    f"{expression.source}: `input_schema` allows no field {field!r} here", "unknown_field", hint
                )
        return None

    def _wrong_types(self, expression: Expression, wanted: Wanted | None) -> Fault | None:
        constant = not expression.roots
        outcomes = [_outcome(expression, scope) for scope in self._scopes]
        errors = [outcome for outcome in outcomes if isinstance(outcome, ExpressionError)]
        if len(errors) == len(outcomes) and all(constant or error.mistyped for error in errors):
            return Fault(f"{expression.source}: {errors[0].message}", "expression_type")
        if errors or wanted is None or (not constant and "?" in expression.source):
            return None  # a sample may have taken the other way
        if any(_gives(outcome, wanted, constant=constant) for outcome in outcomes):
            return None
        return Fault(f"{expression.source}: must give {wanted}, and gives {type_word(outcomes[0])}", _TYPES[wanted])


_TYPES = {"true or false": "not_boolean", "a list": "not_a_list", "an RFC 3339 time": "not_a_time"}


def _outcome(expression: Expression, scope: dict[str, Json]) -> Any:
    """The value, or the `ExpressionError`."""
    steps = {step: {"status": "succeeded"} for step in expression.steps}
    try:
        return expression.evaluate(scope | {"steps": steps})
    except ExpressionError as error:
        return error


def _gives(value: Json, wanted: Wanted, *, constant: bool) -> bool:
    match wanted:
        case "true or false":
            return isinstance(value, bool)
        case "a list":
            return isinstance(value, list)
        case "an RFC 3339 time":
            return isinstance(value, str) and (is_time(value) or not constant)


def is_time(text: str) -> bool:
    """Whether it is one moment: a time with its offset."""
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def constant_of(condition: bool | str | None) -> bool | None:
    """What a condition always gives, or None."""
    if not isinstance(condition, str):
        return condition
    try:
        found = expressions_in(condition)
    except ExpressionError:
        return None
    if len(found) != 1 or found[0].roots:
        return None
    outcome = _outcome(found[0], {})
    return outcome if isinstance(outcome, bool) else None
