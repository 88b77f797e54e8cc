"""Large outputs that several steps of a run have in common, written once.

Steps hand values on: ten steps with one 25 MB text are then 25 MB in the record of the run's end, not 250.
"""

from collections.abc import Sequence
from typing import Any, Protocol, cast

import orjson
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from studio.contracts.base import Json, JsonObject

LARGE_BYTES = 1024 * 1024
"""About; a smaller output is written wherever it stands."""
SAME_AS = "output_of"
"""In the written form, in place of an `output`: the id of the first step that has the same."""


class _Step(Protocol):
    id: str
    output: Json

    def model_copy(self, *, update: dict[str, Any]) -> "_Step": ...


class Folded:
    """Annotates steps, in a list or by their ids: they are read and written as below, and their JSON Schema stays."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        steps = handler(source)
        written = core_schema.wrap_serializer_function_ser_schema(fold_outputs, schema=steps)
        return core_schema.no_info_before_validator_function(unfold_outputs, steps, serialization=written)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(cast("core_schema.BeforeValidatorFunctionSchema", schema)["schema"])


def fold_outputs(steps: Any, handler: Any) -> Any:
    """A serializer of steps, in a list or by their ids."""
    listed = cast("list[_Step]", _listed(steps))
    same = _same(listed)
    if not any(same):
        return handler(steps)
    less = [_without_output(step) if first else step for step, first in zip(listed, same, strict=True)]
    written = handler(_as_before(steps, less))
    for step, first in zip(_listed(written), same, strict=True):
        if first is not None:
            step.pop("output", None)
            step[SAME_AS] = first
    return written


def unfold_outputs(written: Any) -> Any:
    """What `fold_outputs` wrote, each step with its output; anything else as it is. Raises `ValueError` when a step
    names one that is not there.
    """
    listed = _listed(written) if isinstance(written, list | dict) else []
    if not any(isinstance(step, dict) and SAME_AS in step for step in listed):
        return cast("Any", written)
    outputs: JsonObject = {}
    for step in listed:
        outputs.setdefault(step["id"], step.get("output"))
    return _as_before(written, [_whole(step, outputs) for step in listed])


def same_output(output: Json, steps: Sequence[_Step]) -> str | None:
    """The id of the first of the steps that has the same large output."""
    key = large_key(output)
    return None if key is None else next((step.id for step in steps if is_same(step.output, output)), None)


def is_same(one: Json, other: Json) -> bool:
    """Whether two outputs are large, and written in the same way."""
    if one is not other and (type(one) is not type(other) or one != other):
        return False
    key = large_key(one)
    return key is not None and (one is other or key == large_key(other))


def _whole(step: JsonObject, outputs: JsonObject) -> JsonObject:
    first = step.get(SAME_AS)
    if first is None:
        return step
    if first not in outputs:
        raise ValueError(f"{SAME_AS}: there is no step {first!r}")
    return {**step, "output": outputs[first]}


def _without_output(step: _Step) -> _Step:
    return step.model_copy(update={"output": None})


def _listed(steps: Any) -> list[Any]:
    return list(cast("dict[str, Any]", steps).values()) if isinstance(steps, dict) else cast("list[Any]", steps)


def _as_before(steps: Any, listed: list[Any]) -> Any:
    """In a list, or by the ids that `steps` has them by."""
    return dict(zip(cast("dict[str, Any]", steps), listed, strict=True)) if isinstance(steps, dict) else listed


def _same(steps: Sequence[_Step]) -> list[str | None]:
    """For each step the id of the first one with the same large output, if that is another one."""
    first: dict[str | bytes, int] = {}
    keys = [large_key(step.output) for step in steps]
    places = [place if key is None else first.setdefault(key, place) for place, key in enumerate(keys)]
    return [None if at == place else steps[at].id for place, at in enumerate(places)]


def large_key(output: Json) -> str | bytes | None:
    """What equal large outputs have in common; None for one that is not large."""
    if isinstance(output, str):
        return output if len(output) >= LARGE_BYTES else None
    if not isinstance(output, list | dict):
        return None
    written = orjson.dumps(output)
    return written if len(written) >= LARGE_BYTES else None
