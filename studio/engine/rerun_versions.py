"""What another version of a definition means for the steps that an earlier one recorded.

A recorded step means the same when its own definition, the agent or child workflow that it runs, its place and, where
it uses what stands before it without a name, the step before it are the same. What holds steps counts as changed, with
all inside it, when its own fields are; in a sequence, or a case, a further step changes nothing for the others.
"""

from collections.abc import Mapping
from typing import cast

from studio.contracts.base import Json, JsonObject
from studio.contracts.definitions import ResolvedDefinition, WorkflowDefinition
from studio.contracts.steps import (
    AgentStep,
    Block,
    ConditionalBlock,
    SequentialBlock,
    StepBase,
    WorkflowStep,
    block_in,
)
from studio.engine.dependencies import step_uses
from studio.engine.plan import FINALLY, ROOT, Plan, agent_uses, block_groups, compile_plan, groups_of, walk


class Changes:
    """`steps` says by step id why it is another one; `blocks`, which sequences and choices hold other steps."""

    def __init__(self, old: ResolvedDefinition, new: ResolvedDefinition) -> None:
        self._old, self._new = old, new
        self._before = compile_plan(old.workflow, old.agents)
        self.plan = compile_plan(new.workflow, new.agents)
        self.steps: dict[str, str] = {}
        self.blocks: list[str] = []
        for step_id, node in self.plan.nodes.items():
            if step_id not in self._before.nodes or node.group == FINALLY or node.group.endswith("~"):
                continue
            why = self._why(step_id)
            if why is not None:
                self.steps[step_id] = why
            elif self._held(self._before, step_id) != self._held(self.plan, step_id):
                if isinstance(node.body, SequentialBlock | ConditionalBlock):
                    self.blocks.append(step_id)
                else:
                    self.steps[step_id] = "what it holds is another set of steps"

    def is_gone(self, step_id: str) -> bool:
        """Whether a step of the old version has no place in the new one."""
        now, then = self.plan.nodes.get(step_id), self._before.nodes.get(step_id)
        return now is None or then is None or (now.owner, now.group) != (then.owner, then.group)

    def _why(self, step_id: str) -> str | None:
        then, now = self._before.nodes[step_id], self.plan.nodes[step_id]
        if now.kind != then.kind:
            return f"it was of the kind {then.kind!r}"
        if _own(self._before, step_id) != _own(self.plan, step_id):
            return "its definition is another one"
        if self._runs(self._old, self._before, step_id) != self._runs(self._new, self.plan, step_id):
            return f"the {'workflow' if now.kind == 'workflow' else 'agent'} that it runs is another one"
        uses = step_uses(now) if "." not in step_id else None
        is_led = uses is not None and (uses.prev or uses.default_input)
        if is_led and _previous(self._before, step_id) != _previous(self.plan, step_id):
            return "the step before it is another one"
        return None

    def _held(self, plan: Plan, step_id: str) -> list[list[str]]:
        body = plan.nodes[step_id].body
        groups = [] if body is None else block_groups(body, step_id)
        return [[step.id for step in group.steps] for group in groups]

    def _runs(self, definition: ResolvedDefinition, plan: Plan, step_id: str) -> Json:
        node = plan.nodes[step_id]
        step = node.step
        if isinstance(step, WorkflowStep):
            return _closure(definition, step.workflow)
        return [definition.agents[use].model_dump(mode="json") for use in _agents_of(step, node.body)]


_BESIDE = frozenset(WorkflowDefinition.model_fields) | {"finally", "pattern"}
"""Fields of a definition that are not its pattern's."""


def _own(plan: Plan, step_id: str) -> Json:
    """A step's own fields, without the steps that it holds; of the definition those that govern its pattern."""
    node = plan.nodes[step_id]
    if "." in step_id:
        return cast("AgentStep", node.step).model_dump(mode="json")["agent"]
    if step_id == ROOT:
        workflow = plan.definition
        dump: JsonObject = workflow.model_dump(mode="json", by_alias=True)
        kept = {key: value for key, value in dump.items() if key not in _BESIDE}
        places = [group.loc for group in block_groups(workflow, ROOT)]
    else:
        kept = node.step.model_dump(mode="json", by_alias=True)
        kept.pop("name", None)
        places = [group.loc for group in groups_of(node.step)]
    for place in places:
        _take_out(kept, place)
    return kept


def _take_out(document: JsonObject, place: tuple[str | int, ...]) -> None:
    *outer, last = place
    at: Json = document
    for key in outer:
        at = at[key]
    at[last] = None


def _previous(plan: Plan, step_id: str) -> str | None:
    """The step before it in its chain, else before the blocks around it."""
    at = step_id
    while at != ROOT:
        node = plan.nodes[at]
        chain = plan.groups.get(node.group, [])
        place = chain.index(at) if at in chain else 0
        if place > 0:
            return chain[place - 1]
        at = node.owner
    return None


def _closure(definition: ResolvedDefinition, name: str) -> Mapping[str, Json]:
    """A child workflow with all that it runs in turn."""
    found: dict[str, Json] = {}
    pending = [name]
    while pending:
        at = pending.pop()
        if at in found:
            continue
        child = definition.workflows[at]
        found[at] = child.workflow.model_dump(mode="json", by_alias=True)
        steps = [step for _, step in walk(child.workflow)]
        for use in [
            *_agents_of(None, child.workflow),
            *(one for step in steps for one in _agents_of(step, block_in(step))),
        ]:
            found[f"agent {use}"] = definition.agents[use].model_dump(mode="json")
        pending += [step.workflow for step in steps if isinstance(step, WorkflowStep)]
    return found


def _agents_of(step: StepBase | None, block: Block | None) -> list[str]:
    """The agents that a step, or a block, names."""
    used = [step.agent] if isinstance(step, AgentStep) else []
    used += list(agent_uses(block).values()) if block is not None else []
    return [use for use in used if isinstance(use, str)]
