"""JSON Schema (2020-12): is it one, and does a value satisfy it. The same at every door, and within bounds.

What a check may cost is counted (`studio.schemas.meter`); nothing is ever fetched, and nothing is kept.
"""

from collections.abc import Iterable, Sequence

from studio.contracts.base import Json, JsonObject
from studio.errors import FieldError
from studio.schemas.defaults import Defaults, holds_defaults
from studio.schemas.evaluation import Evaluator
from studio.schemas.meter import Meter, TooMuchWork
from studio.schemas.outcomes import MAX_ERRORS, Problem
from studio.schemas.references import LeadsNowhere
from studio.schemas.stored import schema_problems

__all__ = ["MAX_ERRORS", "check_schema", "check_value", "fit", "fit_each"]

Loc = Sequence[str | int]
_TOO_MUCH = "checking this against its schema takes too long: make the value smaller or the schema simpler"


def check_schema(schema: JsonObject, loc: Loc = (), *, meter: Meter | None = None) -> list[FieldError]:
    """What is wrong with a schema: its size and form, its regular expressions, references that lead nowhere or round
    in circles, and defaults that do not satisfy it. Several may share a meter.
    """
    return _errors(schema_problems(schema, meter or Meter()), loc)


def check_value(value: Json, schema: JsonObject, loc: Loc = (), *, meter: Meter | None = None) -> list[FieldError]:
    """Where a value does not satisfy a schema that passed `check_schema`. An error of type `limit_exceeded` says that
    the check would take too long; it depends on value and schema alone.
    """
    return _checked(value, schema, loc, meter or Meter())


def fit(
    value: Json, schema: JsonObject | None, loc: Loc = (), *, meter: Meter | None = None
) -> tuple[Json, list[FieldError]]:
    """The value with the schema's defaults filled in, and where that does not satisfy the schema. Without a value (it
    is null) it is the schema's own default, if there is one.
    """
    if schema is None:
        return value, []
    meter = meter or Meter()
    try:
        filled = Defaults(schema, meter).filled(_given(value, schema)) if holds_defaults(schema, meter) else value
    except (TooMuchWork, LeadsNowhere) as error:
        return value, [_refusal(error, loc)]
    errors = _checked(filled, schema, loc, meter)
    if errors and filled is None:
        errors[0] = errors[0].model_copy(update={"hint": _wanted(schema)})
    return filled, errors


def fit_each(values: list[Json], schema: JsonObject | None, loc: Loc = ()) -> tuple[list[Json], list[FieldError]]:
    """As `fit`, for many values at the cost of one; an error's place begins with the value's index."""
    if schema is None:
        return values, []
    meter = Meter()
    try:
        defaults = Defaults(schema, meter) if holds_defaults(schema, meter) else None
        filled = values if defaults is None else [defaults.filled(_given(value, schema)) for value in values]
        return filled, _errors(Evaluator(schema, meter).problems_of_each(filled), loc)
    except (TooMuchWork, LeadsNowhere) as error:
        return values, [_refusal(error, loc)]


def _given(value: Json, schema: JsonObject) -> Json:
    return schema.get("default") if value is None else value


def _wanted(schema: JsonObject) -> str | None:
    """What an object of this schema holds, for who gave nothing."""
    properties: JsonObject = schema.get("properties", {})
    required: list[str] = schema.get("required", [])
    names = [*required, *(name for name in properties if name not in required)]
    shown = [f"{name} (required)" if name in required else name for name in names[:MAX_ERRORS]]
    return f"give an object with {', '.join(shown)}" if shown else None


def _checked(value: Json, schema: JsonObject, loc: Loc, meter: Meter) -> list[FieldError]:
    try:
        return _errors(Evaluator(schema, meter).problems(value), loc)
    except (TooMuchWork, LeadsNowhere) as error:
        return [_refusal(error, loc)]


def _refusal(error: TooMuchWork | LeadsNowhere, loc: Loc) -> FieldError:
    if isinstance(error, TooMuchWork):
        return FieldError(loc=list(loc), msg=_TOO_MUCH, type="limit_exceeded")
    return FieldError(loc=list(loc), msg=f"$ref {error.reference!r} leads nowhere", type="json_schema")


def _errors(problems: Iterable[Problem], loc: Loc) -> list[FieldError]:
    return [FieldError(loc=[*loc, *place], msg=message, type=keyword) for place, keyword, message in problems]
