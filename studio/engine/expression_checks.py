"""The expressions of a workflow, each checked where it stands: can it be read, and is what it names there."""

import contextlib
import difflib
from typing import cast

from studio.contracts.base import Json
from studio.contracts.definitions import AnyWorkflow
from studio.engine.closed_sets import ClosedSets
from studio.engine.expression_types import ExpressionTypes, Wanted, is_time
from studio.engine.findings import EnoughError, Findings
from studio.engine.foreign_words import syntax_hint
from studio.engine.misplaced import condition_hint, has_template
from studio.engine.plan import Loc, walk
from studio.expressions import Expression, ExpressionError, split_template
from studio.json_schema import check_schema
from studio.schemas.meter import Meter

IN_SCOPE = ("input", "steps", "run", "prev")
_MAX_SUGGESTIONS = 10
"""Looking for a near miss compares a name with every id."""
_MAX_LISTED = 20


class ExpressionCheck:
    """Whoever walks the workflow keeps up what is in scope, and says where expressions stand."""

    def __init__(self, workflow: AnyWorkflow, meter: Meter) -> None:
        self._workflow = workflow
        self._meter = meter
        self._ids = {step.id for _, step in walk(workflow)}
        self._listed = _listing(self._ids)
        self._suggestions = 0
        self._finished: set[str] = set()
        """The steps that may have finished where the check is now."""
        self._in_each: set[str] = set()
        """Steps of a `for_each` that is over: there are many of each."""
        self._names: tuple[str, ...] = IN_SCOPE
        self._before: bool = False
        """Whether a step may have run before, whose output is `prev`."""
        schema = workflow.input_schema
        self._types = ExpressionTypes(None if schema is None or check_schema(schema, meter=meter) else schema)
        self._closed = ClosedSets(workflow)
        self._evaluated: set[Loc] = set()
        """Where expressions are evaluated."""
        self._findings, self._warnings = Findings(), Findings()

    def _warn(self, loc: Loc, message: str, kind: str, hint: str | None = None) -> None:
        with contextlib.suppress(EnoughError):  # of errors there may be more
            self._warnings.add(loc, message, kind, hint)

    def _condition(self, condition: bool | str, loc: Loc, field: str) -> None:
        if isinstance(condition, bool):
            return
        wanted: Wanted = "a list" if field == "for_each" else "true or false"
        pieces = self._pieces(condition, loc, wanted)
        if pieces is not None and not (len(pieces) == 1 and isinstance(pieces[0], Expression)):
            hint = condition_hint(condition)
            also = "true, false or " if field == "when" else ""
            message = f"`{field}` is {also}one whole ${{{{ expression }}}}"
            self._findings.add(loc, message, "not_an_expression", hint)

    def _moment(self, until: str | None, loc: Loc) -> None:
        pieces = None if until is None else self._pieces(until, loc, "an RFC 3339 time")
        if (
            pieces is not None
            and not any(isinstance(piece, Expression) for piece in pieces)
            and not is_time(until or "")
        ):
            message = "`until` is a time with its offset, or one whole ${{ expression }} that gives one"
            hint = "write 2030-01-31T09:00:00Z or 2030-01-31T09:00:00+01:00, or `for: 30s`"
            self._findings.add(loc, message, "not_a_time", hint)

    def _value(self, value: Json, loc: Loc) -> None:
        match value:
            case str():
                self._pieces(value, loc)
            case dict():
                for key, item in cast("dict[str, Json]", value).items():
                    self._value(item, (*loc, key))
            case list():
                for index, item in enumerate(cast("list[Json]", value)):
                    self._value(item, (*loc, index))
            case _:
                pass

    def _pieces(self, text: str, loc: Loc, wanted: Wanted | None = None) -> list[str | Expression] | None:
        """`wanted` is what a text that is one whole expression must give."""
        self._evaluated.add(loc)
        try:
            pieces = split_template(text)
        except ExpressionError as error:
            message, hint = f"{error.expression}: {error.message}", error.hint or syntax_hint(error.expression)
            self._findings.add(loc, message, "expression_syntax", hint)
            return None
        if any(isinstance(piece, str) and has_template(piece) for piece in pieces) and wanted is None:
            message = "`{{ … }}` is a template's, and stays as it is here: expressions are `${{ … }}`"
            self._warn(loc, message, "template_in_text", "write ${{ … }}, or leave it if it is meant as text")
        for piece in pieces:
            if isinstance(piece, Expression) and self._references(piece, loc):
                fault = self._closed.wrong_field(piece) or self._types.fault(
                    piece, wanted if len(pieces) == 1 else None, first=not self._before
                )
                if fault is not None:
                    self._findings.add(loc, *fault)
                for odd in self._closed.never(piece):
                    self._warn(loc, *odd)
        return pieces

    def _references(self, expression: Expression, loc: Loc) -> bool:
        """Whether all that it names is there."""
        before = len(self._findings.found)
        for root in sorted(expression.roots - set(self._names)):
            if root == "secrets":
                hint = "secrets are allowed only where a component, an MCP server or an upstream is configured"
            else:
                hint = f"in scope are {', '.join(self._names)}"
            self._findings.add(loc, f"{expression.source}: there is no {root!r} here", "unknown_name", hint)
        if expression.whole_steps:
            self._findings.add(loc, f"{expression.source}: name one step, as steps.ID", "unknown_reference")
        for step in sorted(expression.steps):
            if step not in self._ids:
                message = f"{expression.source}: there is no step {step!r}"
                self._findings.add(loc, message, "unknown_reference", self._suggestion(step))
            elif step in self._in_each and step not in self._finished:
                message = f"{expression.source}: step {step!r} runs once for each item, so its name means none of them"
                self._findings.add(loc, message, "many_of_step", "refer to the parallel block: its output is the list")
            elif step not in self._finished:
                message = f"{expression.source}: step {step!r} cannot have finished here"
                self._findings.add(loc, message, "early_reference", "refer to a step that comes before")
        return len(self._findings.found) == before

    def _suggestion(self, step: str) -> str:
        self._suggestions += 1
        close = difflib.get_close_matches(step, self._ids, 1) if self._suggestions <= _MAX_SUGGESTIONS else []
        return f"did you mean {close[0]!r}?" if close else self._listed


def _listing(ids: set[str]) -> str:
    names = sorted(ids)
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return f"steps are {', '.join(names[:_MAX_LISTED])}{more}"
