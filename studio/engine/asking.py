"""What a step that is a call asks for: of an agent, or of a child workflow."""

from typing import TYPE_CHECKING

from studio.contracts.base import Json
from studio.contracts.definitions import ResolvedAgent, ResolvedDefinition
from studio.contracts.runs import is_inside
from studio.contracts.steps import AgentStep, WorkflowStep
from studio.engine.children import own_steps
from studio.engine.plan import PlanNode
from studio.engine.state import CacheUse, RunAgent, RunChild

if TYPE_CHECKING:
    from studio.engine.turn import Turn


def agent_call(turn: "Turn", path: str, step: AgentStep, node: PlanNode, given: Json) -> RunAgent:
    """Raises `UnusableError`."""
    before = turn.state.steps[path].attempt - 1
    if "." in turn.state.frames[path].node:
        return turn.patterns.question(turn, path).model_copy(update={"attempts_before": before})
    return RunAgent(
        path=path,
        name=node.agent or step.id,
        agent=step.agent,
        input=given,
        timeout=step.timeout,
        retry=step.retry,
        output_schema=step.output_schema,
        cache=_cache_of(turn, path, step),
        attempts_before=before,
    )


def agent_of(definition: ResolvedDefinition, command: RunAgent) -> ResolvedAgent:
    """Whom a call asks."""
    if isinstance(command.agent, str):
        return definition.agents[command.agent]
    return ResolvedAgent(name=command.name, spec=command.agent)


def _cache_of(turn: "Turn", path: str, step: AgentStep) -> CacheUse | None:
    """Raises `UnusableError`."""
    if step.cache is None:
        return None
    key = [turn.evaluate(path, step.cache.key)] if "key" in step.cache.model_fields_set else []
    return CacheUse(ttl=step.cache.ttl, key=key)


def child_call(turn: "Turn", path: str, step: WorkflowStep, given: Json) -> RunChild:
    """A child that was left unfinished, by an earlier execution or until somebody resolved its failure, goes on with
    what it had done.
    """
    inner = [run for run in turn.state.steps.values() if is_inside(run.id, path)]
    before = max((run.attempt for run in inner), default=turn.state.attempts_before)
    call = RunChild(path=path, workflow=step.workflow, input=given, attempts_before=before)
    if all(run.status == "pending" for run in inner):
        return call
    left = own_steps(inner, path, [node.step.id for node in turn.plan.nodes.values() if node.owner == step.id])
    repaired = turn.state.remembered.inputs if turn.state.remembered is not None else {}
    inputs = {name[len(path) + 1 :]: value for name, value in repaired.items() if is_inside(name, path)}
    going_on = {"attempts_before": turn.state.attempts_before, "steps": left, "inputs": inputs}
    return call.model_copy(update=going_on)
