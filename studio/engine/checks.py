"""Static checks of a definition when it is stored: everything that would fail later and can be known now."""

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

    `loc` is relative to the document's root. Whether agents exist is the store's to say: see `agent_references`.
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


class _Check:
    def __init__(self, workflow: WorkflowDefinition) -> None:
        self._workflow = workflow
        self._ids = {step.id for _, step in walk(workflow.steps)}
        self._finished: set[str] = set()
        self._found: list[FieldError] = []

    def run(self) -> list[FieldError]:
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
                        self._found += check_agent(step.agent, (*place, "agent"))
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
                close = difflib.get_close_matches(step, self._ids, 1)
                hint = f"did you mean {close[0]!r}?" if close else f"steps are {', '.join(sorted(self._ids))}"
                self._add(loc, f"{expression.source}: there is no step {step!r}", "unknown_reference", hint)
            elif step not in self._finished:
                message = f"{expression.source}: step {step!r} cannot have finished here"
                self._add(loc, message, "early_reference", "refer to a step that comes before")

    def _add(self, loc: Loc, message: str, kind: str, hint: str | None = None) -> None:
        self._found.append(FieldError(loc=list(loc), msg=message, type=kind, hint=hint))
