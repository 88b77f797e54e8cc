"""Names and values of which there are only so many: the fields of steps, errors and the run, and what some may hold."""

import difflib
from collections.abc import Iterator, Mapping
from typing import NamedTuple, cast, get_args

from studio.cel.names import Path
from studio.contracts.base import Json, JsonObject
from studio.contracts.definitions import AnyWorkflow
from studio.contracts.runs import StepStatus
from studio.contracts.steps import (
    AgentStep,
    ApprovalStep,
    ErrorType,
    FailStep,
    ParallelBlock,
    Step,
    TransformStep,
    WaitStep,
    WorkflowStep,
    block_in,
)
from studio.engine.plan import walk
from studio.expressions import OPEN, Expression

Shape = Mapping[str, "Shape | None"]
"""The fields of a value, and theirs; None is open. A value without any is a text, a number or null."""
PLAIN: Shape = {}
_ERROR: Shape = dict.fromkeys(("type", "message", "step_id"), PLAIN)
_RUN: Shape = {**dict.fromkeys(("id", "session_id", "user_id"), PLAIN), "metadata": None}
_DECISION: Shape = {
    **dict.fromkeys(("decision", "edited", "comment", "by", "timed_out"), PLAIN),
    "value": None,
}
_STATUSES = frozenset(get_args(StepStatus))
_ERROR_TYPES = frozenset(get_args(ErrorType))
_DECISIONS = frozenset({"approve", "reject"})
_MAX_LISTED = 20


class Wrong(NamedTuple):
    message: str
    type: str
    hint: str | None


class ClosedSets:
    """Those of one workflow."""

    def __init__(self, workflow: AnyWorkflow) -> None:
        steps = [step for _, step in walk(workflow)]
        self._steps: dict[str, Shape] = {step.id: _view(step) for step in steps}
        self._approvals = {step.id for step in steps if isinstance(step, ApprovalStep)}
        self._own_errors = not any(_has_errors_of_its_own(step) for step in steps)

    def wrong_field(self, expression: Expression) -> Wrong | None:
        """The first field that there certainly is not; what `has` asks for may be missing."""
        tested = expression.names.tested
        for path in sorted(expression.paths):
            if any(path[: end + 1] in tested for end in range(len(path))):
                continue
            shape, begin = self._shape(path)
            for place in range(begin, len(path)):
                if shape is None:
                    break
                if path[place] not in shape:
                    return _unknown(expression, ".".join(path[:place]), path[place], shape)
                shape = shape[path[place]]
        return None

    def never(self, expression: Expression) -> Iterator[Wrong]:
        """Comparisons with a text that the value never is."""
        for path, text in sorted(expression.names.compared):
            values = self._values(path)
            if values is not None and text not in values:
                close = difflib.get_close_matches(text, values, 1)
                hint = f"did you mean {close[0]!r}?" if close else f"it is one of {', '.join(sorted(values))}"
                message = f"{expression.source}: `{'.'.join(path)}` is never {text!r}"
                yield Wrong(message, "never_runs", hint)

    def _shape(self, path: Path) -> tuple[Shape | None, int]:
        """Of what the path begins with, and where in the path its fields begin."""
        match path:
            case ("steps", step, *_):
                return self._steps.get(step), 2
            case ("prev", *_):
                return {**_fields(None), "errors": None}, 1
            case ("error", *_):
                return _ERROR, 1
            case ("run", *_):
                return _RUN, 1
            case ("index" | "iteration", *_):
                return PLAIN, 1
            case _:
                return None, 1

    def _values(self, path: Path) -> frozenset[str] | None:
        match path:
            case ("steps", _, "status") | ("prev", "status"):
                return _STATUSES
            case ("steps", step, "output", "decision") if step in self._approvals:
                return _DECISIONS
            case ("steps", _, "error", "type") | ("prev", "error", "type") | ("error", "type") if self._own_errors:
                return _ERROR_TYPES
            case _:
                return None


def _has_errors_of_its_own(step: Step) -> bool:
    """Whether it may fail with a type that is not one of ours."""
    return isinstance(step, WorkflowStep | FailStep)


def _unknown(expression: Expression, of: str, field: str, shape: Shape) -> Wrong:
    if not shape:
        message = f"{expression.source}: `{of}` has no fields, and {field!r} is asked of it"
        return Wrong(message, "unknown_field", None)
    close = difflib.get_close_matches(field, shape, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"fields are {', '.join(list(shape)[:_MAX_LISTED])}"
    return Wrong(f"{expression.source}: `{of}` has no field {field!r}", "unknown_field", hint)


def _fields(output: Shape | None) -> Shape:
    return {"output": output, "status": PLAIN, "error": _ERROR}


def _view(step: Step) -> Shape:
    """What expressions see of a step."""
    view = _fields(_output(step) if isinstance(step.on_error, str) else None)
    return {**view, "errors": None} if isinstance(block_in(step), ParallelBlock) else view


def _output(step: Step) -> Shape | None:  # noqa: PLR0911 - one line a kind
    if step.output_schema is not None:
        return _of_schema(step.output_schema)
    match step:
        case ApprovalStep():
            return _DECISION
        case AgentStep():
            return PLAIN
        case TransformStep():
            return _of_literal(step.transform)
        case WaitStep() if step.wait.signal is None:
            return PLAIN
        case _:
            block = block_in(step)
            if isinstance(block, ParallelBlock) and block.branches is not None:
                return dict.fromkeys(branch.id for branch in block.branches)
            return None


def _of_literal(value: Json) -> Shape | None:
    match value:
        case dict():
            return {name: _of_literal(item) for name, item in cast("JsonObject", value).items()}
        case str() if OPEN in value:
            return None
        case list():
            return None
        case _:
            return PLAIN


def _of_schema(schema: Json) -> Shape | None:
    declared = cast("JsonObject", schema) if isinstance(schema, dict) else {}
    fields = declared.get("properties")
    closed = declared.get("additionalProperties") is False and "patternProperties" not in declared
    if not closed or not isinstance(fields, dict):
        return None
    return {name: _of_schema(field) for name, field in cast("JsonObject", fields).items()}
