"""What a `fail` step fails with."""

import re

from studio.contracts.base import ERROR_PATTERN
from studio.contracts.runs import RunError
from studio.contracts.steps import FailStep
from studio.engine.plan import Plan
from studio.engine.scope import Spend, UnusableError, evaluate_at
from studio.engine.state import RunState
from studio.expressions import as_text

MAX_MESSAGE = 4_000
"""Characters: errors are in lists, events and logs."""


def error_of(plan: Plan, state: RunState, path: str, step: FailStep, spend: Spend) -> RunError:
    """Raises `UnusableError`."""
    kind = evaluate_at(plan, state, path, step.fail.type, spend)
    if not isinstance(kind, str) or not re.fullmatch(ERROR_PATTERN, kind):
        message = f"`type` must give a name such as out_of_stock (lower case, digits, `_`), not {as_text(kind)[:100]!r}"
        raise UnusableError("expression_error", message)
    message = as_text(evaluate_at(plan, state, path, step.fail.message, spend))
    return RunError(type=kind, message=message if len(message) <= MAX_MESSAGE else f"{message[:MAX_MESSAGE]}…")
