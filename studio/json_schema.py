"""JSON Schema (2020-12): is it one, and does a value satisfy it. Nothing is ever fetched from the network."""

from collections.abc import Iterable, Sequence
from typing import Any, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema_specifications import REGISTRY
from referencing import Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012, SchemaResource

from studio.contracts.base import Json, JsonObject
from studio.errors import FieldError

MAX_ERRORS = 20
MAX_MESSAGE = 300


def check_schema(schema: JsonObject, loc: Sequence[str | int] = ()) -> list[FieldError]:
    """What is wrong with a schema: its form, its patterns, and references that lead nowhere."""
    try:
        Draft202012Validator.check_schema(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    except SchemaError as error:
        return [FieldError(loc=[*loc, *error.absolute_path], msg=_short(error.message), type="json_schema")]
    root: SchemaResource = DRAFT202012.create_resource(schema)
    found: list[FieldError] = []
    pending: list[tuple[SchemaResource, Any]] = [(root, cast("Any", REGISTRY).resolver_with_root(root))]
    while pending and len(found) < MAX_ERRORS:
        resource, resolver = pending.pop()
        contents = cast("Any", resource.contents)
        reference = cast("JsonObject", contents).get("$ref") if isinstance(contents, dict) else None
        if isinstance(reference, str) and not _resolves(resolver, reference):
            found.append(FieldError(loc=list(loc), msg=f"$ref {reference!r} leads nowhere", type="json_schema"))
        children = cast("Iterable[Resource[Any]]", resource.subresources())
        pending += [(child, resolver.in_subresource(child)) for child in children]
    return found


def _resolves(resolver: Any, reference: str) -> bool:
    try:
        resolver.lookup(reference)
    except Unresolvable:
        return False
    return True


def check_value(value: Json, schema: JsonObject, loc: Sequence[str | int] = ()) -> list[FieldError]:
    """Where a value does not satisfy a schema that passed `check_schema`."""
    validator = Draft202012Validator(schema, registry=REGISTRY)
    found: list[FieldError] = []
    try:
        for error in cast("Iterable[ValidationError]", validator.iter_errors(value)):
            place = [*loc, *cast("Iterable[str | int]", error.absolute_path)]
            found.append(FieldError(loc=place, msg=_short(error.message), type=str(error.validator)))
            if len(found) == MAX_ERRORS:
                break
    except RecursionError:
        found.append(FieldError(loc=list(loc), msg="the schema refers to itself without end", type="json_schema"))
    return found


def _short(message: str) -> str:
    return message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 1] + "…"
