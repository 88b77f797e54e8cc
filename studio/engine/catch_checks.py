"""Error types that `on_error` and `retry` name: those that something in the workflow can fail with."""

import difflib
from collections.abc import Iterator
from typing import get_args

from studio.contracts.agents import CallErrorType
from studio.contracts.definitions import AnyWorkflow
from studio.contracts.steps import ErrorType, FailStep, WorkflowStep
from studio.engine.findings import EnoughError, Findings
from studio.engine.plan import Loc, walk
from studio.errors import FieldError
from studio.expressions import OPEN

_BUILT_IN = frozenset(get_args(ErrorType)) | frozenset(get_args(CallErrorType))


def catch_errors(workflow: AnyWorkflow) -> list[FieldError]:
    """Types that nothing here can fail with."""
    return _found(workflow, certain=True)


def catch_warnings(workflow: AnyWorkflow) -> list[FieldError]:
    """Types that only a child workflow, or an expression, could bring, and that look like a misspelt one."""
    return _found(workflow, certain=False)


def _found(workflow: AnyWorkflow, *, certain: bool) -> list[FieldError]:
    steps = [step for _, step in walk(workflow)]
    own = {step.fail.type for step in steps if isinstance(step, FailStep)}
    is_open = any(OPEN in kind for kind in own) or any(isinstance(step, WorkflowStep) for step in steps)
    known = sorted(_BUILT_IN | {kind for kind in own if OPEN not in kind})
    findings = Findings()
    try:
        for loc, kind in _named(workflow):
            close = difflib.get_close_matches(kind, known, 1, 0.6 if certain else 0.85)
            if kind in known or certain == is_open or not (certain or close):
                continue
            hint = f"did you mean {close[0]!r}?" if close else f"types are {', '.join(known)}"
            code = "unknown_error_type" if certain else "never_reached"
            findings.add(loc, f"no step here fails with the type {kind!r}", code, hint)
    except EnoughError:
        pass
    return findings.found


def _named(workflow: AnyWorkflow) -> Iterator[tuple[Loc, str]]:
    for loc, step in walk(workflow):
        for index, clause in enumerate(step.on_error if not isinstance(step.on_error, str) else []):
            for place, kind in enumerate(clause.catch if clause.catch != "all" else []):
                yield (*loc, "on_error", index, "catch", place), kind
        for place, kind in enumerate(step.retry.non_retryable if step.retry is not None else []):
            yield (*loc, "retry", "non_retryable", place), kind
