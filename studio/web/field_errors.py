"""Pydantic's findings as the fields of a problem (RFC 9457), for services and for the command line."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from studio.contracts.steps import UNION_TAGS
from studio.errors import FieldError, InvalidInput
from studio.web.field_messages import hint_of, message_of
from studio.web.shapes import fields_at

_KEY = "[key]"
"""Pydantic's own end of a place that is an object's key, not its value."""
MAX_NAMED = 100
"""Faults that are named; of those past it only the number is. A body may hold 100,000, and a hint takes a while."""


class Findings(Protocol):
    """A `ValidationError` of Pydantic, or a `RequestValidationError` of FastAPI."""

    def errors(self) -> Sequence[Any]:
        """A mapping each: `loc`, `msg`, `type`, and `ctx` where there is one."""
        ...


def field_errors(error: Findings, *, prefix: Sequence[str | int] = (), shape: Any = None) -> list[FieldError]:
    """Pydantic's findings in the contract's shape. The offending input is left out: it may hold a secret.

    `shape` is the type that was asked for, where that is known: then a field that there is not comes with those that
    there are. A union's tags are written `<tag>` in our contracts; they are no part of the place. An error of ours
    says in its context which field it is `at`, and its `hint`.
    """
    problems = _problems(error, shape)
    found: list[FieldError] = []
    for problem in problems[:MAX_NAMED]:
        loc = [part for part in problem["loc"] if part not in UNION_TAGS and part != _KEY]
        told = {**problem, "loc": loc}
        hint = hint_of(told, _siblings(problem, shape))
        context: dict[str, Any] = problem.get("ctx") or {}
        place = [*prefix, *loc, *([context["at"]] if "at" in context else [])]
        found.append(FieldError(loc=place, msg=message_of(told), type=problem["type"], hint=hint))
    if len(problems) > MAX_NAMED:
        rest = f"{len(problems) - MAX_NAMED} more errors are not listed"
        found.append(FieldError(loc=[*prefix], msg=rest, type="too_many_errors"))
    return found


def _problems(error: Findings, shape: Any) -> Sequence[Mapping[str, Any]]:
    """Without the missing fields that are there under another name."""
    problems: Sequence[dict[str, Any]] = error.errors()
    unknown = [problem for problem in problems if problem["type"] == "extra_forbidden"][:MAX_NAMED]
    misspelt = {(*problem["loc"][:-1], near) for problem in unknown if (near := _meant(problem, shape)) is not None}
    return [problem for problem in problems if problem["type"] != "missing" or tuple(problem["loc"]) not in misspelt]


def _siblings(problem: Mapping[str, Any], shape: Any) -> list[str]:
    return fields_at(shape, problem["loc"][:-1]) if shape is not None and problem["type"] == "extra_forbidden" else []


def _meant(problem: Mapping[str, Any], shape: Any) -> str | None:
    close = difflib.get_close_matches(str(problem["loc"][-1]), _siblings(problem, shape), 1) if problem["loc"] else []
    return close[0] if close else None


def invalid_input(error: Findings, *, prefix: Sequence[str | int] = (), shape: Any = None) -> InvalidInput:
    """Summarise in `detail`, so that a log line or a terminal is enough to see what is wrong."""
    errors = field_errors(error, prefix=prefix, shape=shape)
    first = errors[0]
    place = ".".join(str(part) for part in first.loc)
    hint = f" ({first.hint})" if first.hint else ""
    count = len(_problems(error, shape))
    more = f" (and {count - 1} more)" if count > 1 else ""
    return InvalidInput(f"{place}: {first.msg}{hint}{more}", errors=errors)
