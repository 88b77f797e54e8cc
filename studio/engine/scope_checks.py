"""Walking a workflow as it would run: which steps may have finished where, and whether expressions name only those."""

import contextlib
import difflib
from collections.abc import Sequence
from typing import cast

from studio.contracts.agents import AgentSpec
from studio.contracts.base import Json
from studio.contracts.definitions import AnyWorkflow
from studio.contracts.steps import (
    AgentStep,
    ApprovalStep,
    Block,
    ConditionalBlock,
    GivenStep,
    GraphBlock,
    HierarchicalBlock,
    LoopBlock,
    ParallelBlock,
    Step,
    TransformStep,
    WaitStep,
    block_in,
)
from studio.engine.agent_checks import check_agent
from studio.engine.expression_types import ExpressionTypes, Wanted, is_time
from studio.engine.findings import EnoughError, Findings
from studio.engine.foreign_words import syntax_hint
from studio.engine.graph_checks import graph_errors, leads_to
from studio.engine.join_checks import join_errors
from studio.engine.plan import (
    FINALLY,
    ROOT,
    Group,
    Loc,
    agent_places,
    block_groups,
    groups_of,
    kind_of,
    places,
    step_groups,
    walk,
)
from studio.errors import FieldError
from studio.expressions import OPEN, Expression, ExpressionError, split_template
from studio.json_schema import check_schema
from studio.schemas.meter import Meter

IN_SCOPE = ("input", "steps", "run", "prev")
MAX_STEPS = 2_000
"""In one workflow, those inside blocks counted."""
_MAX_SUGGESTIONS = 10
"""Looking for a near miss compares a name with every id."""
_MAX_LISTED = 20
_LIST = "write a list: [a, b]"


class ScopeCheck:
    """Walks a workflow in the order in which its steps run, and knows what can be named where."""

    def __init__(self, workflow: AnyWorkflow, meter: Meter) -> None:
        self._workflow = workflow
        self._ids = {step.id for _, step in walk(workflow)}
        self._listed = _listing(self._ids)
        self._suggestions = 0
        self._finished: set[str] = set()
        """The steps that may have finished where the check is now."""
        self._in_each: set[str] = set()
        """Steps of a `for_each` that is over: there are many of each."""
        self._names: tuple[str, ...] = IN_SCOPE
        self._nodes: set[str] = set()
        """Steps that are nodes of a graph."""
        self._within: dict[str, set[str]] = {step.id: _ids_inside(step) for _, step in walk(workflow)}
        self._meter = meter
        schema = workflow.input_schema
        self._types = ExpressionTypes(None if schema is None or check_schema(schema, meter=meter) else schema)
        self._holding = {step for step, inner in self._within.items() if inner}
        self._findings = Findings()

    def run(self) -> list[FieldError]:
        count = sum(1 for _ in walk(self._workflow))
        if count > MAX_STEPS:
            message = f"{count} steps, those inside blocks counted; a workflow has at most {MAX_STEPS}"
            return [FieldError(loc=["steps"], msg=message, type="too_many_steps")]
        with contextlib.suppress(EnoughError):
            self._duplicates()
            self._finished |= self._inside(self._workflow, block_groups(self._workflow, ROOT), ())
            self._value(self._workflow.output, ("output",))
            if self._workflow.finally_ is not None:
                self._group(Group(FINALLY, self._workflow.finally_, ("finally",)), (), "error")
        return self._findings.found

    def _duplicates(self) -> None:
        seen: set[str] = set()
        for loc, step in walk(self._workflow):
            if step.id in seen:
                self._findings.add(
                    (*loc, "id"), f"the id {step.id!r} is used twice; ids are unique in a workflow", "duplicate_id"
                )
            seen.add(step.id)

    def _group(
        self, group: Group, outer: Loc, *names: str, fan: bool = False, also: dict[str, set[str]] | None = None
    ) -> set[str]:
        """Check the steps in their order; the branches of a fan see nothing of each other. Returns what may then have
        finished, and leaves the rest as it was.
        """
        around, finished = self._names, set(self._finished)
        self._names = (*around, *names)
        over = set(finished)
        for loc, step in places(group):
            if fan or also is not None:
                self._finished = set(finished)
            if also is not None:
                self._nodes.add(step.id)
                self._finished |= also[step.id]
                for before in also[step.id] & self._holding:
                    self._finished |= self._within[before]
            self._step(step, (*outer, *loc))
            over |= self._finished
        self._names, self._finished = around, finished
        return over

    def _step(self, step: Step, loc: Loc) -> None:
        self._condition(step.when, (*loc, "when"), "when")
        self._node_fields(step, loc)
        if isinstance(step, GivenStep):
            self._value(step.input, (*loc, "input"))
        own = step_groups(step)
        handlers = [group for group in own if not group.key.endswith("~")]
        block = block_in(step)
        if block is None:
            self._leaf(step, loc)
            after = set[str]()
        else:
            after = self._inside(block, block_groups(block, step.id), (*loc, kind_of(step)))
        self._finished |= after
        for group in handlers:
            after |= self._group(group, loc, "error")
        self._finished |= after | {step.id}
        for group in own[len(handlers) :]:
            self._group(group, loc)

    def _node_fields(self, step: Step, loc: Loc) -> None:
        for field in sorted({"join", "max_visits"} & step.model_fields_set):
            if step.id not in self._nodes:
                self._findings.add(
                    (*loc, field), f"`{field}` is for the nodes of a graph", "not_a_node", "leave it out"
                )
        if step.output_schema is not None:
            for error in check_schema(step.output_schema, [*loc, "output_schema"], meter=self._meter):
                self._findings.append(error)

    def _inside(self, block: Block, groups: Sequence[Group], loc: Loc) -> set[str]:
        """What may have finished once the block is over, beside itself."""
        self._inline_agents(block, loc)
        match block:
            case ParallelBlock() if block.branches is None:
                return self._for_each(block, groups, loc)
            case ParallelBlock():
                return self._branches(block, groups, loc)
            case LoopBlock():
                return self._loop(block, groups, loc)
            case GraphBlock():
                return self._graph(block, groups, loc)
            case ConditionalBlock():
                self._choice(block, loc)
            case HierarchicalBlock():
                self._value(block.input, (*loc, "input"))
            case _:
                pass
        after: set[str] = set()
        for group in groups:
            after |= self._group(group, loc)
        return after

    def _leaf(self, step: Step, loc: Loc) -> None:
        match step:
            case AgentStep():
                if step.cache is not None:
                    self._value(step.cache.key, (*loc, "cache", "key"))
                for error in check_agent(step.agent, (*loc, "agent")) if isinstance(step.agent, AgentSpec) else ():
                    self._findings.append(error)
            case TransformStep():
                self._value(step.transform, (*loc, "transform"))
            case WaitStep():
                self._moment(step.wait.until, (*loc, "wait", "until"))
            case ApprovalStep():
                self._value(step.approval.message, (*loc, "approval", "message"))
                if step.approval.escalation is not None:
                    self._value(step.approval.escalation.to, (*loc, "approval", "escalation", "to"))
            case _:
                pass

    def _choice(self, block: ConditionalBlock, loc: Loc) -> None:
        if block.route is not None:
            self._value(block.route.input, (*loc, "route", "input"))
        for index, case in enumerate(block.cases or []):
            self._condition(case.when, (*loc, "cases", index, "when"), "when")

    def _inline_agents(self, block: Block, loc: Loc) -> None:
        for place, use in agent_places(block):
            if isinstance(use, AgentSpec):
                for error in check_agent(use, (*loc, *place)):
                    self._findings.append(error)

    def _graph(self, block: GraphBlock, groups: Sequence[Group], loc: Loc) -> set[str]:
        found = graph_errors(block, loc)
        for error in found:
            self._findings.append(error)
        if found:  # who leads to whom is not certain then: what names its nodes is looked at once that is mended
            return {inner for node in block.nodes for inner in (node.id, *self._within[node.id])}
        inside = self._group(groups[0], loc, also=leads_to(block))
        around, self._finished = self._finished, self._finished | inside
        for index, edge in enumerate(block.edges):
            self._condition(edge.when, (*loc, "edges", index, "when"), "when")
        if block is not self._workflow:
            self._value(block.output, (*loc, "output"))
        self._finished = around
        return inside

    def _for_each(self, block: ParallelBlock, groups: Sequence[Group], loc: Loc) -> set[str]:
        items: Json = block.for_each
        place = (*loc, "for_each")
        if isinstance(items, str):
            self._condition(items, place, "for_each")
        elif isinstance(items, list):
            self._value(cast("Json", items), place)
        else:
            self._findings.add(
                place, "`for_each` is a list or one whole ${{ expression }} that gives one", "not_a_list", _LIST
            )
        self._joins(block, loc)
        inside = self._group(groups[0], loc, "item", "index") - self._finished
        self._in_each |= inside
        return set()

    def _branches(self, block: ParallelBlock, groups: Sequence[Group], loc: Loc) -> set[str]:
        self._joins(block, loc)
        return self._group(groups[0], loc, fan=True)

    def _joins(self, block: ParallelBlock, loc: Loc) -> None:
        for error in join_errors(block, loc):
            self._findings.append(error)

    def _loop(self, block: LoopBlock, groups: Sequence[Group], loc: Loc) -> set[str]:
        around, finished = self._names, self._finished
        names = ("iteration", "last")
        self._names = (*around, *names)
        if block.condition is not None:
            self._condition(block.condition, (*loc, "while"), "while")
        self._names = around
        after = self._group(groups[0], loc, *names)
        self._names, self._finished = (*around, *names), after
        if block.until is not None:
            self._condition(block.until, (*loc, "until"), "until")
        self._names, self._finished = around, finished
        return after

    def _condition(self, condition: bool | str, loc: Loc, field: str) -> None:
        if isinstance(condition, bool):
            return
        wanted: Wanted = "a list" if field == "for_each" else "true or false"
        pieces = self._pieces(condition, loc, wanted)
        if pieces is not None and not (len(pieces) == 1 and isinstance(pieces[0], Expression)):
            hint = (
                f"write ${{{{ {condition} }}}}" if OPEN not in condition else "one expression alone, nothing around it"
            )
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
        try:
            pieces = split_template(text)
        except ExpressionError as error:
            message, hint = f"{error.expression}: {error.message}", syntax_hint(error.expression)
            self._findings.add(loc, message, "expression_syntax", hint)
            return None
        for piece in pieces:
            if isinstance(piece, Expression) and self._references(piece, loc):
                fault = self._types.fault(piece, wanted if len(pieces) == 1 else None)
                if fault is not None:
                    self._findings.add(loc, *fault)
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


def _ids_inside(step: Step) -> set[str]:
    return {inner.id for group in groups_of(step) for _, found in places(group) for inner in (found, *_steps(found))}


def _steps(step: Step) -> list[Step]:
    return [inner for group in groups_of(step) for _, found in places(group) for inner in (found, *_steps(found))]


def _listing(ids: set[str]) -> str:
    names = sorted(ids)
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return f"steps are {', '.join(names[:_MAX_LISTED])}{more}"
