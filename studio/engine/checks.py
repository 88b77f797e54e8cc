"""Static checks of a definition when it is stored: everything that would fail later and can be known now."""

import contextlib
import difflib
from collections.abc import Sequence
from typing import cast

from studio.contracts.base import Json
from studio.contracts.definitions import AgentSpec, AgentStep, SequentialStep, Step, TransformStep, WorkflowDefinition
from studio.engine.plan import kind_of, walk
from studio.errors import FieldError, InvalidInput
from studio.expressions import OPEN, Expression, ExpressionError, split_template
from studio.templates import compile_template

Loc = tuple[str | int, ...]
IN_SCOPE = ("input", "steps", "run", "prev")
MAX_STEPS = 2_000
"""In one workflow, those inside blocks counted."""
MAX_FINDINGS = 100
_MAX_SUGGESTIONS = 10
"""Looking for a near miss compares a name with every id."""
_MAX_LISTED = 20


def check_agent(agent: AgentSpec, loc: Loc = ()) -> list[FieldError]:
    """Jinja2 syntax of the agent's templates."""
    found: list[FieldError] = []
    for field, template in (("instructions", agent.instructions), ("message", agent.message)):
        if template is not None:
            try:
                compile_template(template)
            except InvalidInput as error:
                found.append(FieldError(loc=[*loc, field], msg=error.detail, type="template_syntax"))
    return found


def check_workflow(workflow: WorkflowDefinition) -> list[FieldError]:
    """Duplicate ids, expression syntax, and references to steps that do not exist or cannot have finished.

    The first 100 findings. `loc` is relative to the document's root. Whether agents exist is the store's to say: see
    `agent_references`.
    """
    return _Check(workflow).run()


def agent_references(workflow: WorkflowDefinition) -> list[tuple[list[str | int], str]]:
    """Every agent that a step names, with its place."""
    return [
        ([*loc, "agent"], step.agent)
        for loc, step in walk(workflow.steps)
        if isinstance(step, AgentStep) and isinstance(step.agent, str)
    ]


def workflow_graph(workflow: WorkflowDefinition) -> dict[str, list[dict[str, Json]]]:
    """Nodes (with the block that holds them) and edges, for drawing. Ids are step paths."""
    nodes: list[dict[str, Json]] = []
    edges: list[dict[str, Json]] = []
    _draw(workflow.steps, None, nodes, edges)
    return {"nodes": nodes, "edges": edges}


def _draw(steps: list[Step], block: str | None, nodes: list[dict[str, Json]], edges: list[dict[str, Json]]) -> None:
    before: str | None = None
    for step in steps:
        path = f"{block}/{step.id}" if block else step.id
        agent = step.agent if isinstance(step, AgentStep) and isinstance(step.agent, str) else None
        nodes.append({"id": path, "kind": kind_of(step), "label": step.name or step.id, "block": block, "agent": agent})
        if before is not None:
            edges.append({"from": before, "to": path})
        before = path
        if isinstance(step, SequentialStep):
            _draw(step.sequential.steps, path, nodes, edges)


class _EnoughError(Exception):
    """There are as many findings as anyone will read."""


class _Check:
    def __init__(self, workflow: WorkflowDefinition) -> None:
        self._workflow = workflow
        self._ids = {step.id for _, step in walk(workflow.steps)}
        self._listed = _listing(self._ids)
        self._suggestions = 0
        self._finished: set[str] = set()
        self._found: list[FieldError] = []

    def run(self) -> list[FieldError]:
        count = sum(1 for _ in walk(self._workflow.steps))
        if count > MAX_STEPS:
            message = f"{count} steps, those inside blocks counted; a workflow has at most {MAX_STEPS}"
            return [FieldError(loc=["steps"], msg=message, type="too_many_steps")]
        with contextlib.suppress(_EnoughError):
            self._duplicates()
            self._block(self._workflow.steps, ("steps",))
            self._value(self._workflow.output, ("output",))
        return self._found

    def _duplicates(self) -> None:
        seen: set[str] = set()
        for loc, step in walk(self._workflow.steps):
            if step.id in seen:
                self._add(
                    (*loc, "id"), f"the id {step.id!r} is used twice; ids are unique in a workflow", "duplicate_id"
                )
            seen.add(step.id)

    def _block(self, steps: Sequence[Step], loc: Loc) -> None:
        for index, step in enumerate(steps):
            place = (*loc, index)
            self._when(step.when, (*place, "when"))
            match step:
                case AgentStep():
                    self._value(step.input, (*place, "input"))
                    if isinstance(step.agent, AgentSpec):
                        for error in check_agent(step.agent, (*place, "agent")):
                            self._append(error)
                case TransformStep():
                    self._value(step.transform, (*place, "transform"))
                case SequentialStep():
                    self._block(step.sequential.steps, (*place, "sequential", "steps"))
            self._finished.add(step.id)

    def _when(self, when: bool | str, loc: Loc) -> None:
        if isinstance(when, bool):
            return
        pieces = self._pieces(when, loc)
        if pieces is not None and not (len(pieces) == 1 and isinstance(pieces[0], Expression)):
            hint = f"write ${{{{ {when} }}}}" if OPEN not in when else "one expression alone, nothing around it"
            self._add(loc, "`when` is true, false or one whole ${{ expression }}", "not_an_expression", hint)

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

    def _pieces(self, text: str, loc: Loc) -> list[str | Expression] | None:
        try:
            pieces = split_template(text)
        except ExpressionError as error:
            self._add(loc, f"{error.expression}: {error.message}", "expression_syntax")
            return None
        for piece in pieces:
            if isinstance(piece, Expression):
                self._references(piece, loc)
        return pieces

    def _references(self, expression: Expression, loc: Loc) -> None:
        for root in sorted(expression.roots - set(IN_SCOPE)):
            if root == "secrets":
                hint = "secrets are allowed only where a component, an MCP server or an upstream is configured"
            else:
                hint = f"in scope are {', '.join(IN_SCOPE)}"
            self._add(loc, f"{expression.source}: there is no {root!r} here", "unknown_name", hint)
        if expression.whole_steps:
            self._add(loc, f"{expression.source}: name one step, as steps.ID", "unknown_reference")
        for step in sorted(expression.steps):
            if step not in self._ids:
                message = f"{expression.source}: there is no step {step!r}"
                self._add(loc, message, "unknown_reference", self._suggestion(step))
            elif step not in self._finished:
                message = f"{expression.source}: step {step!r} cannot have finished here"
                self._add(loc, message, "early_reference", "refer to a step that comes before")

    def _suggestion(self, step: str) -> str:
        self._suggestions += 1
        close = difflib.get_close_matches(step, self._ids, 1) if self._suggestions <= _MAX_SUGGESTIONS else []
        return f"did you mean {close[0]!r}?" if close else self._listed

    def _add(self, loc: Loc, message: str, kind: str, hint: str | None = None) -> None:
        self._append(FieldError(loc=list(loc), msg=message, type=kind, hint=hint))

    def _append(self, error: FieldError) -> None:
        self._found.append(error)
        if len(self._found) >= MAX_FINDINGS:
            raise _EnoughError


def _listing(ids: set[str]) -> str:
    names = sorted(ids)
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return f"steps are {', '.join(names[:_MAX_LISTED])}{more}"
