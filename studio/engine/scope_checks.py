"""Walking a workflow as it would run: which steps may have finished where, and whether expressions name only those."""

import contextlib
from collections.abc import Sequence
from typing import cast

from studio.cel.lexer import RESERVED
from studio.contracts.agents import AgentSpec
from studio.contracts.base import Json
from studio.contracts.definitions import AnyWorkflow
from studio.contracts.steps import (
    AgentStep,
    ApprovalStep,
    Block,
    ConditionalBlock,
    FailStep,
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
from studio.engine.expression_checks import ExpressionCheck
from studio.engine.findings import EnoughError
from studio.engine.graph_checks import graph_errors, leads_to
from studio.engine.join_checks import join_errors
from studio.engine.misplaced import misplaced_expressions
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
from studio.expressions import OPEN
from studio.json_schema import check_schema
from studio.schemas.meter import Meter

IN_SCOPE = ("input", "steps", "run", "prev")
MAX_STEPS = 2_000
"""In one workflow, those inside blocks counted."""
_MAX_SUGGESTIONS = 10
"""Looking for a near miss compares a name with every id."""
_MAX_LISTED = 20
_LIST = "write a list: [a, b]"


class ScopeCheck(ExpressionCheck):
    """Walks a workflow in the order in which its steps run, and knows what can be named where."""

    def __init__(self, workflow: AnyWorkflow, meter: Meter) -> None:
        super().__init__(workflow, meter)
        self._nodes: set[str] = set()
        """Steps that are nodes of a graph."""
        self._within: dict[str, set[str]] = {step.id: _ids_inside(step) for _, step in walk(workflow)}
        self._holding = {step for step, inner in self._within.items() if inner}

    def run(self) -> list[FieldError]:
        count = sum(1 for _ in walk(self._workflow))
        if count > MAX_STEPS:
            message = f"{count} steps, those inside blocks counted; a workflow has at most {MAX_STEPS}"
            return [FieldError(loc=["steps"], msg=message, type="too_many_steps")]
        with contextlib.suppress(EnoughError):
            self._duplicates()
            self._finished |= self._inside(self._workflow, block_groups(self._workflow, ROOT), ())
            self._before = True
            self._value(self._workflow.output, ("output",))
            if self._workflow.finally_ is not None:
                self._group(Group(FINALLY, self._workflow.finally_, ("finally",)), (), "error")
            document = self._workflow.model_dump(mode="json", by_alias=True, exclude_unset=True)
            for error in misplaced_expressions(document, self._evaluated):
                self._findings.append(error)
        return self._findings.found

    def warnings(self) -> list[FieldError]:
        """What `run` found odd on its way."""
        return self._warnings.found

    def _duplicates(self) -> None:
        seen: set[str] = set()
        for loc, step in walk(self._workflow):
            if step.id in RESERVED:
                message = f"{step.id!r} is a word of CEL, so that expressions cannot name the step"
                self._findings.add((*loc, "id"), message, "reserved_id", f"write {step.id}_step")
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
        preceded: bool = self._before
        self._names = (*around, *names)
        self._before = preceded or bool({"error", "last"} & set(names))
        over = set(finished)
        for loc, step in places(group):
            if fan or also is not None:
                self._finished = set(finished)
            if also is not None:
                self._nodes.add(step.id)
                self._finished |= also[step.id]
                for before in also[step.id] & self._holding:
                    self._finished |= self._within[before]
            if also is not None:
                self._before = preceded or bool(also[step.id])
            self._step(step, (*outer, *loc))
            over |= self._finished
            self._before = self._before or not (fan or also is not None)
        self._names, self._finished, self._before = around, finished, preceded
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
        before, self._before = self._before, True
        for group in own[len(handlers) :]:
            self._group(group, loc, "error")
        self._before = before

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
                if isinstance(step.agent, AgentSpec):
                    for error in check_agent(step.agent, (*loc, "agent"), _template_variables(step)):
                        self._findings.append(error)
            case TransformStep():
                self._value(step.transform, (*loc, "transform"))
            case FailStep():
                self._value(step.fail.type, (*loc, "fail", "type"))
                self._value(step.fail.message, (*loc, "fail", "message"))
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
            self._evaluated.add(loc)
            return {inner for node in block.nodes for inner in (node.id, *self._within[node.id])}
        inside = self._group(groups[0], loc, also=leads_to(block))
        around, self._finished = self._finished, self._finished | inside
        before, self._before = self._before, True
        for index, edge in enumerate(block.edges):
            self._condition(edge.when, (*loc, "edges", index, "when"), "when")
        if block is not self._workflow:
            self._value(block.output, (*loc, "output"))
        self._finished, self._before = around, before
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
        before, self._before = self._before, True
        if block.until is not None:
            self._condition(block.until, (*loc, "until"), "until")
        self._names, self._finished, self._before = around, finished, before
        return after


def _ids_inside(step: Step) -> set[str]:
    return {inner.id for group in groups_of(step) for _, found in places(group) for inner in (found, *_steps(found))}


def _steps(step: Step) -> list[Step]:
    return [inner for group in groups_of(step) for _, found in places(group) for inner in (found, *_steps(found))]


def _template_variables(step: AgentStep) -> list[str] | None:
    """What the agent's templates see, where the step's input is written out."""
    given: Json = step.input
    if "input" not in step.model_fields_set or (isinstance(given, str) and OPEN in given):
        return None
    return list(cast("dict[str, Json]", given)) if isinstance(given, dict) else ["input"]
