"""What is odd in a workflow but works: each is told when it is stored, and none refuses it."""

import contextlib
from collections.abc import Iterator
from datetime import timedelta

from studio.contracts.agents import AgentSpec
from studio.contracts.definitions import AnyWorkflow
from studio.contracts.steps import (
    AgentStep,
    ApprovalStep,
    Block,
    Catch,
    ConditionalBlock,
    FailStep,
    GraphBlock,
    LoopBlock,
    ParallelBlock,
    Step,
    TransformStep,
    WaitStep,
    block_in,
)
from studio.engine.agent_checks import agent_warnings
from studio.engine.catch_checks import catch_warnings
from studio.engine.expression_types import constant_of
from studio.engine.fan_warnings import warn_of_fan
from studio.engine.findings import EnoughError, Findings
from studio.engine.graph_checks import leads_to
from studio.engine.plan import Loc, agent_places, kind_of, walk
from studio.engine.scope_checks import ScopeCheck
from studio.errors import FieldError
from studio.schemas.meter import Meter


def workflow_warnings(workflow: AnyWorkflow) -> list[FieldError]:
    """The first 100. The workflow must have passed `checks.check_workflow`; `loc` is relative to its root."""
    findings = Findings()
    walked = ScopeCheck(workflow, Meter())
    walked.run()
    with contextlib.suppress(EnoughError):
        for loc, step in walk(workflow):
            _step(findings, workflow, step, loc)
        for loc, block in _blocks(workflow):
            _block(findings, workflow, block, loc)
        for warning in [*walked.warnings(), *_of_agents(workflow), *catch_warnings(workflow)]:
            findings.append(warning)
    return findings.found


def _blocks(workflow: AnyWorkflow) -> Iterator[tuple[Loc, Block]]:
    yield (), workflow
    for loc, step in walk(workflow):
        block = block_in(step)
        if block is not None:
            yield (*loc, kind_of(step)), block


def _of_agents(workflow: AnyWorkflow) -> Iterator[FieldError]:
    for loc, step in walk(workflow):
        if isinstance(step, AgentStep) and isinstance(step.agent, AgentSpec):
            yield from agent_warnings(step.agent, (*loc, "agent"))
    for loc, block in _blocks(workflow):
        for place, use in agent_places(block):
            if isinstance(use, AgentSpec):
                yield from agent_warnings(use, (*loc, *place))


def _step(findings: Findings, workflow: AnyWorkflow, step: Step, loc: Loc) -> None:
    runs = constant_of(step.when)
    if runs is False:
        findings.add((*loc, "when"), f"the step {step.id!r} never runs", "never_runs", "remove the step, or its `when`")
    elif runs and step.when is not True:
        findings.add((*loc, "when"), "this is always true", "constant_condition", "leave `when` out")
    if not isinstance(step.on_error, str):
        _catches(findings, step.on_error, (*loc, "on_error"))
    _unused(findings, step, loc)
    _late(findings, workflow, step, loc)


def _unused(findings: Findings, step: Step, loc: Loc) -> None:
    if isinstance(step, TransformStep | WaitStep | ApprovalStep | FailStep) and step.retry is not None:
        message = f"`retry` does nothing here: a {kind_of(step)} gives the same when it is tried again"
        findings.add((*loc, "retry"), message, "unused_field", "leave it out")
    if isinstance(step, TransformStep | FailStep) and step.timeout is not None:
        message = f"`timeout` does nothing here: a {kind_of(step)} takes no time"
        findings.add((*loc, "timeout"), message, "unused_field", "leave it out")
    if isinstance(step, ApprovalStep):
        approval = step.approval
        escalation = approval.escalation
        if escalation is not None and "on_timeout" in escalation.model_fields_set and escalation.timeout is None:
            message = "`on_timeout` is never used: without `timeout` the step waits until somebody decides"
            place = (*loc, "approval", "escalation", "on_timeout")
            findings.add(place, message, "unused_field", "add `timeout` here, or leave it out")
        if "on_timeout" in approval.model_fields_set and approval.timeout is None and step.timeout is None:
            message = "`on_timeout` is never used: without `timeout` the step waits until somebody decides"
            findings.add((*loc, "approval", "on_timeout"), message, "unused_field", "add `timeout`, or leave it out")
    if step.retry is not None and step.retry.max_interval < step.retry.initial_interval:
        message = "`max_interval` is shorter than `initial_interval`, so that it is the time between all attempts"
        findings.add((*loc, "retry"), message, "unused_field", "write a longer `max_interval`")


def _late(findings: Findings, workflow: AnyWorkflow, step: Step, loc: Loc) -> None:
    """Times that end after the run's own."""
    limit = workflow.limits.timeout if workflow.limits is not None else None
    if limit is None or loc[0] == "finally":
        return
    places: list[tuple[Loc, timedelta | None]] = [(("timeout",), step.timeout)]
    if isinstance(step, WaitStep):
        places += [(("wait", "for"), step.wait.duration), (("wait", "timeout"), step.wait.timeout)]
    if isinstance(step, ApprovalStep):
        first, second = step.approval.timeout, step.approval.escalation
        places.append((("approval", "timeout"), first))
        if first is not None and first <= limit and second is not None and second.timeout is not None:
            places.append((("approval", "escalation", "timeout"), first + second.timeout))
    for place, duration in places:
        if duration is not None and duration > limit:
            message = "this is longer than the run's own timeout, which ends it first"
            findings.add((*loc, *place), message, "beyond_run", "write less, or raise `limits.timeout`")


def _catches(findings: Findings, clauses: list[Catch], loc: Loc) -> None:
    caught: set[str] = set()
    for index, clause in enumerate(clauses):
        if "all" in caught or (clause.catch != "all" and set(clause.catch) <= caught):
            message = "this is never reached: the clauses before catch all that it catches"
            findings.add((*loc, index, "catch"), message, "never_reached", "put it first, or remove it")
        caught |= {"all"} if clause.catch == "all" else set(clause.catch)


def _block(findings: Findings, workflow: AnyWorkflow, block: Block, loc: Loc) -> None:
    match block:
        case ConditionalBlock():
            _cases(findings, block, loc)
        case GraphBlock():
            _graph(findings, block, loc)
        case LoopBlock():
            _loop(findings, block, loc)
        case ParallelBlock():
            warn_of_fan(findings, workflow, block, loc)
        case _:
            pass


def _cases(findings: Findings, block: ConditionalBlock, loc: Loc) -> None:
    seen: set[bool | str] = set()
    for index, case in enumerate(block.cases or []):
        place = (*loc, "cases", index, "when")
        if True in seen or case.when in seen:
            findings.add(place, "this is never reached: a case before it is taken first", "never_reached", "remove it")
        elif constant_of(case.when) is False:
            findings.add(place, "this case is never taken", "never_runs", "remove it, or write an expression")
        seen.add(True if constant_of(case.when) else case.when)
    if True in seen and block.otherwise is not None:
        message = "`else` is never reached: a case before it is always true"
        findings.add((*loc, "else"), message, "never_reached", "remove it, or the case's `when`")


def _graph(findings: Findings, block: GraphBlock, loc: Loc) -> None:
    counted = any("max_visits" in node.model_fields_set for node in block.nodes)
    before = leads_to(block) if counted else {}
    rings = {node for node in before if node in before[node]}
    for index, node in enumerate(block.nodes if counted else []):
        if "max_visits" in node.model_fields_set and node.max_visits > 1 and not ({node.id} | before[node.id]) & rings:
            message = f"`max_visits` is never used: no cycle leads to the node {node.id!r}"
            findings.add((*loc, "nodes", index, "max_visits"), message, "unused_field", "leave it out")
    for index, edge in enumerate(block.edges):
        if constant_of(edge.when) is False:
            findings.add((*loc, "edges", index, "when"), "this edge is never taken", "never_runs", "remove the edge")


def _loop(findings: Findings, block: LoopBlock, loc: Loc) -> None:
    for field, condition, at_once in (("until", block.until, True), ("while", block.condition, False)):
        always = constant_of(condition)
        if always is at_once:
            rounds = "after its first round" if at_once else "before its first round"
            findings.add(
                (*loc, field), f"the loop always ends {rounds}", "constant_condition", "write what it waits for"
            )
        elif always is not None:
            message = f"the loop never ends by itself, and fails after {block.max_iterations} rounds"
            findings.add((*loc, field), message, "constant_condition", "write what it waits for")
