"""The JSON Schema of a prompt's variables: inferred, checked when stored, and used when rendering."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import orjson
from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import SchemaError, ValidationError
from referencing import Registry

from studio.contracts.base import Json, JsonObject
from studio.contracts.prompts import PromptContent
from studio.errors import FieldError, InvalidInput
from studio.sandbox.budget import RenderBudget, RenderLimit, RenderTimeout, current_budget, use_budget
from studio.templates import TemplateTimeout, required_variables_of, variables_of

MAX_SCHEMA_BYTES = 65_536
MAX_ERRORS = 20
_UNBOUNDED = frozenset({"pattern", "patternProperties", "uniqueItems", "$ref", "$dynamicRef", "$recursiveRef"})
"""Keywords whose checking time nothing bounds (regular expressions backtrack, references multiply)."""
_NAMED_SCHEMAS = frozenset({"properties", "$defs", "definitions", "dependentSchemas"})
_VALUES = frozenset({"enum", "const", "default", "examples"})
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


def check_schema(schema: JsonObject, content: PromptContent) -> None:
    """Raises `InvalidInput` when the schema is none, is unbounded, or misses a variable of the templates."""
    try:
        if len(orjson.dumps(schema)) > MAX_SCHEMA_BYTES:
            raise _schema_error(f"The schema is longer than {MAX_SCHEMA_BYTES} bytes.")
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise _schema_error(f"Not a JSON Schema: {error.message[:300]}.", *error.absolute_path) from None
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise _schema_error(f"Not a JSON Schema: {error}.") from None
    if schema.get("type", "object") != "object":
        raise _schema_error("The variables are an object: 'type' must be 'object'.", "type")
    _refuse_unbounded(schema, ())
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


def _refuse_unbounded(schema: Any, place: tuple[str | int, ...]) -> None:
    if isinstance(schema, list):
        for index, part in enumerate(cast("list[Any]", schema)):
            _refuse_unbounded(part, (*place, index))
        return
    if not isinstance(schema, dict):
        return
    for keyword, value in cast("dict[str, Any]", schema).items():
        if keyword in _UNBOUNDED:
            raise _schema_error(f"{keyword!r} is not allowed here: nothing bounds its checking.", *place, keyword)
        if keyword in _NAMED_SCHEMAS and isinstance(value, dict):
            for name, part in cast("dict[str, Any]", value).items():
                _refuse_unbounded(part, (*place, keyword, name))
        elif keyword not in _VALUES:
            _refuse_unbounded(value, (*place, keyword))


def _schema_error(message: str, *place: str | int) -> InvalidInput:
    loc: list[str | int] = ["variables", *place]
    return InvalidInput(f"variables: {message}", errors=[FieldError(loc=loc, msg=message, type="json_schema")])


def _timed(check: Callable[..., Iterator[ValidationError] | None]) -> Callable[..., Iterator[ValidationError]]:
    def timed(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        size = len(cast("list[Any]", instance)) if isinstance(instance, list | dict) else 0
        current_budget().spend(1 + 64 * size)
        yield from check(validator, value, instance, schema) or ()

    return timed


_Validator: Any = cast("Any", validators.extend)(
    Draft202012Validator, {name: _timed(check) for name, check in Draft202012Validator.VALIDATORS.items()}
)


class VariableCheck:
    """Checks the variables of a render: none missing, none surplus, each as its schema says."""

    def __init__(self, schema: JsonObject) -> None:
        properties: dict[str, Any] = schema.get("properties", {})
        self._names = frozenset(properties)
        self._required = frozenset(cast("list[str]", schema.get("required", [])))
        self._open = _open(schema)
        plain = {"type", "properties", "required", "additionalProperties"}
        only_names = set(schema) <= plain and not self._open and all(part in ({}, True) for part in properties.values())
        self._validator: Any = None if only_names else _Validator(schema, registry=cast("Any", Registry)())

    def check(self, variables: Mapping[str, Json], budget: RenderBudget) -> None:
        """Raises `InvalidInput` naming every variable that is wrong."""
        given = variables.keys()
        errors: list[FieldError] = []
        if not self._required <= given:
            errors += [_missing(name) for name in sorted(self._required - given)]
        if not (self._open or given <= self._names):
            errors += [_surplus(name) for name in sorted(given - self._names)]
        if not errors and self._validator is not None:
            errors = self._validate(variables, budget)
        if errors:
            raise InvalidInput(" ".join(error.msg for error in errors[:MAX_ERRORS]), errors=errors[:MAX_ERRORS])

    def _validate(self, variables: Mapping[str, Json], budget: RenderBudget) -> list[FieldError]:
        previous = use_budget(budget)
        found: list[FieldError] = []
        try:
            for error in self._validator.iter_errors(variables):
                loc: list[str | int] = ["variables", *error.absolute_path]
                name = ".".join(str(part) for part in loc[1:])
                message = f"The variable {name!r} is wrong: {error.message[:200]}."
                found.append(FieldError(loc=loc, msg=message, type=str(error.validator)))
                if len(found) >= MAX_ERRORS:
                    break
        except RenderTimeout:
            raise TemplateTimeout("The variables take too long to check.") from None
        except RenderLimit as error:
            raise InvalidInput(f"The variables are too much to check: {error}.") from None
        except RecursionError:
            raise InvalidInput("The variables nest too deeply.") from None
        finally:
            use_budget(previous)
        return found


def _missing(name: str) -> FieldError:
    return FieldError(loc=["variables", name], msg=f"The variable {name!r} is missing.", type="missing")


def _surplus(name: str) -> FieldError:
    message = f"The prompt has no variable {name!r}."
    return FieldError(loc=["variables", name], msg=message, type="surplus")
