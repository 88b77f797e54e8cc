"""What a step hands to a child workflow, as far as it is written out, against the child's `input_schema`."""

from typing import cast

from studio.contracts.base import Json, JsonObject
from studio.contracts.definitions import AnyWorkflow
from studio.contracts.steps import WorkflowStep
from studio.engine.plan import walk
from studio.errors import FieldError
from studio.expressions import OPEN
from studio.json_schema import fit
from studio.schemas.meter import Meter

_KEPT = ("$schema", "$defs", "definitions", "type", "required")
"""What holds whatever the expressions give."""


def written_inputs(workflow: AnyWorkflow) -> list[tuple[list[str | int], str, Json]]:
    """Of each step that runs a child: where its input stands, the child's name or id, and the input."""
    return [
        ([*loc, "input"], step.workflow, step.input)
        for loc, step in walk(workflow)
        if isinstance(step, WorkflowStep) and "input" in step.model_fields_set
    ]


def child_input_errors(
    given: Json, schema: JsonObject | None, loc: list[str | int], *, meter: Meter | None = None
) -> list[FieldError]:
    """Where the input certainly does not fit; what an expression gives, the run finds out."""
    if schema is None:
        return []
    if not _moves(given):
        return fit(given, schema, loc, meter=meter)[1]
    if isinstance(given, dict):
        fields = cast("JsonObject", given)
        moving = {name for name, value in fields.items() if _moves(value)}
        held = {name: None if name in moving else value for name, value in fields.items()}
        return fit(held, _certain(schema, moving), loc, meter=meter)[1]
    return []


def _certain(schema: JsonObject, moving: set[str]) -> JsonObject:
    """The schema, with anything allowed for the fields that expressions give."""
    declared = schema.get("properties")
    fields = cast("JsonObject", declared) if isinstance(declared, dict) else {}
    kept: JsonObject = {name: schema[name] for name in _KEPT if name in schema}
    kept["properties"] = {name: True if name in moving else field for name, field in fields.items()}
    if schema.get("additionalProperties") is False and "patternProperties" not in schema:
        kept["additionalProperties"] = False
    return kept


def _moves(value: Json) -> bool:
    match value:
        case str():
            return OPEN in value
        case dict():
            return any(_moves(item) for item in cast("JsonObject", value).values())
        case list():
            return any(_moves(item) for item in cast("list[Json]", value))
        case _:
            return False
