"""The JSON Schema of a prompt's variables: inferred, checked when stored, and used when rendering."""

from collections.abc import Mapping
from typing import Any, cast

import orjson

from studio import json_schema
from studio.contracts.base import Json, JsonObject
from studio.contracts.prompts import PromptContent
from studio.errors import FieldError, InvalidInput
from studio.sandbox.budget import RenderBudget, RenderLimit, RenderTimeout
from studio.schemas.meter import Meter
from studio.templates import TemplateTimeout, required_variables_of, variables_of

MAX_SCHEMA_BYTES = 65_536
MAX_ERRORS = 20
PER_STEP = 64
"""Work, see `studio.sandbox.budget`, that a step of a check is charged for."""
_MESSAGES_SCHEMA: JsonObject = {"type": "array", "items": {"type": "object"}}


def infer_schema(content: PromptContent) -> JsonObject:
    """What the templates read; a variable with a `default` or an `is defined` is optional."""
    names: set[str] = set()
    required: set[str] = set()
    for text in _templates(content):
        names |= variables_of(text)
        required |= required_variables_of(text)
    properties: JsonObject = {name: {} for name in sorted(names)}
    for name in content.placeholders():
        properties[name] = _MESSAGES_SCHEMA
        required.add(name)
    return {
        "type": "object",
        "properties": properties,
        "required": sorted(required),
        "additionalProperties": False,
    }


def check_schema(schema: JsonObject, content: PromptContent, meter: Meter | None = None) -> None:
    """Raises `InvalidInput` when the schema is none or misses a variable of the templates."""
    try:
        if len(orjson.dumps(schema)) > MAX_SCHEMA_BYTES:
            raise _schema_error(f"The schema is longer than {MAX_SCHEMA_BYTES} bytes.")
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise _schema_error(f"Not a JSON Schema: {error}.") from None
    for error in json_schema.check_schema(schema, meter=meter):
        raise _schema_error(f"Not a JSON Schema: {error.msg}.", *error.loc)
    if schema.get("type", "object") != "object":
        raise _schema_error("The variables are an object: 'type' must be 'object'.", "type")
    if _open(schema):
        return
    declared = schema.get("properties", {})
    used = {name for text in _templates(content) for name in variables_of(text)} | set(content.placeholders())
    for name in sorted(used - set(declared)):
        raise _schema_error(f"The template reads {name!r}, which the schema does not declare.", "properties")


def _templates(content: PromptContent) -> list[str]:
    return [text for _, text in content.texts()] if content.engine == "jinja2" else []


def _open(schema: JsonObject) -> bool:
    return schema.get("additionalProperties", False) is not False


def _schema_error(message: str, *place: str | int) -> InvalidInput:
    loc: list[str | int] = ["variables", *place]
    return InvalidInput(f"variables: {message}", errors=[FieldError(loc=loc, msg=message, type="json_schema")])


class _RenderMeter(Meter):
    """A check's steps are also a render's work, so that a long one is not made on the event loop."""

    def __init__(self, budget: RenderBudget) -> None:
        super().__init__()
        self._budget = budget

    def spend(self, steps: int) -> None:
        super().spend(steps)
        self._budget.spend(PER_STEP * steps)


class VariableCheck:
    """Checks the variables of a render: none missing, none surplus, each as its schema says."""

    def __init__(self, schema: JsonObject) -> None:
        properties: dict[str, Any] = schema.get("properties", {})
        self._names = frozenset(properties)
        self._required = frozenset(cast("list[str]", schema.get("required", [])))
        self._open = _open(schema)
        plain = {"type", "properties", "required", "additionalProperties"}
        only_names = set(schema) <= plain and not self._open and all(part in ({}, True) for part in properties.values())
        self._schema = None if only_names else schema

    def check(self, variables: Mapping[str, Json], budget: RenderBudget) -> None:
        """Raises `InvalidInput` naming every variable that is wrong."""
        given = variables.keys()
        errors: list[FieldError] = []
        if not self._required <= given:
            errors += [_missing(name) for name in sorted(self._required - given)]
        if not (self._open or given <= self._names):
            errors += [_surplus(name) for name in sorted(given - self._names)]
        if not errors and self._schema is not None:
            errors = _unfit(variables, self._schema, budget)
        if errors:
            raise InvalidInput(" ".join(error.msg for error in errors[:MAX_ERRORS]), errors=errors[:MAX_ERRORS])


def _unfit(variables: Mapping[str, Json], schema: JsonObject, budget: RenderBudget) -> list[FieldError]:
    try:
        errors = json_schema.check_value(dict(variables), schema, ["variables"], meter=_RenderMeter(budget))
    except RenderTimeout:
        raise TemplateTimeout("The variables take too long to check.") from None
    except RenderLimit as error:
        raise InvalidInput(f"The variables are too much to check: {error}.") from None
    return [error.model_copy(update={"msg": _wrong(error)}) for error in errors]


def _wrong(error: FieldError) -> str:
    name = ".".join(str(part) for part in error.loc[1:])
    return f"The variable {name!r} is wrong: {error.msg}." if name else f"The variables are wrong: {error.msg}."


def _missing(name: str) -> FieldError:
    return FieldError(loc=["variables", name], msg=f"The variable {name!r} is missing.", type="missing")


def _surplus(name: str) -> FieldError:
    message = f"The prompt has no variable {name!r}."
    return FieldError(loc=["variables", name], msg=message, type="surplus")
