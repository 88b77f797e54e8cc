"""Large outputs that several steps of a run have in common, written once.

Steps hand values on: ten steps with one 25 MB text are then 25 MB in the record of the run's end, not 250.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, cast

import orjson

from studio.contracts.base import JsonObject

LARGE_BYTES = 16 * 1024
"""About; a smaller output is written wherever it stands."""
SAME_AS = "output_of"
"""In the written form, in place of an `output`: the id of the first step that has the same."""


class _Step(Protocol):
    id: str
    output: Any

    def model_copy(self, *, update: dict[str, Any]) -> "_Step": ...


def fold_outputs(steps: Any, handler: Any) -> Any:
    """A serializer of steps, in a list or by their ids."""
    listed = _listed(steps)
    same = _same(listed)
    if not same:
        return handler(steps)
    less = [step.model_copy(update={"output": None}) if step.id in same else step for step in listed]
    written = handler({step.id: step for step in less} if isinstance(steps, dict) else less)
    for step in _listed(written):
        if step["id"] in same:
            step.pop("output", None)
            step[SAME_AS] = same[step["id"]]
    return written


def unfold_outputs(written: Any) -> Any:
    """What `fold_outputs` wrote, each step with its output; anything else as it is."""
    listed = _listed(written) if isinstance(written, list | dict) else []
    steps: list[JsonObject] = [step for step in listed if isinstance(step, dict)]
    if not any(SAME_AS in step for step in steps):
        return cast("Any", written)
    outputs = {step["id"]: step.get("output") for step in steps}
    whole: JsonObject = {step["id"]: {**step, "output": outputs[step.get(SAME_AS, step["id"])]} for step in steps}
    return whole if isinstance(written, dict) else list(whole.values())


def same_output(output: Any, steps: Sequence[_Step]) -> str | None:
    """The id of the first of the steps that has the same large output."""
    key = _key(output)
    return None if key is None else next((step.id for step in steps if _key(step.output) == key), None)


def _listed(steps: Any) -> list[Any]:
    return list(cast("dict[str, Any]", steps).values()) if isinstance(steps, dict) else cast("list[Any]", steps)


def _same(steps: Iterable[_Step]) -> dict[str, str]:
    """By the id of a step, that of the first one with the same large output."""
    first: dict[str | bytes, str] = {}
    same: dict[str, str] = {}
    for step in steps:
        key = _key(step.output)
        if key is not None and first.setdefault(key, step.id) != step.id:
            same[step.id] = first[key]
    return same


def _key(output: Any) -> str | bytes | None:
    """What equal large outputs have in common; None for one that is not large."""
    if isinstance(output, str):
        return output if len(output) >= LARGE_BYTES else None
    if not isinstance(output, list | dict):
        return None
    written = orjson.dumps(output)
    return written if len(written) >= LARGE_BYTES else None
