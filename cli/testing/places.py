"""Step paths as a case writes them, and the steps that there are for them."""

import difflib
import re
from collections.abc import Collection, Iterator
from functools import cache

from studio.contracts.definitions import ResolvedDefinition
from studio.contracts.runs import StepKind
from studio.contracts.steps import WaitStep, WorkflowStep
from studio.engine.plan import ROOT, Plan, PlanNode, compile_plan
from studio.errors import FieldError

_PLACE = re.compile(r"[#@][^/\[]*|\[[^\]/]*\]")
_COUNT = re.compile(r"-[^-/]*$")


class PathKey:
    """A step's path in which `*` stands for any text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._pattern = re.compile(".*".join(re.escape(part) for part in text.split("*")), re.DOTALL)

    @property
    def weight(self) -> int:
        """How much it says: of several that match, the one that says most counts."""
        return len(self.text.replace("*", ""))

    def matches(self, path: str) -> bool:
        return self._pattern.fullmatch(path) is not None


class Places:
    """Where a run of the definition can come to, child workflows included: paths without rounds, items, visits and
    counts.
    """

    def __init__(self, definition: ResolvedDefinition) -> None:
        self._definition = definition
        self._plan = compile_plan(definition.workflow, definition.agents)

        @cache
        def child_plan(ref: str) -> Plan:
            return compile_plan(definition.workflows[ref].workflow, definition.agents)

        self._child_plan = child_plan

    def unknown(self, key: str, kind: StepKind, loc: str, does: str) -> FieldError | None:
        """The error of a key that matches no step of the kind; such a step is one that `does`, `asks a model` say."""
        bare = _without_places(key)
        pattern = PathKey(bare)
        if any(pattern.matches(place) for place in self._of(kind, most=bare.count("/") + 1)):
            return None
        there = list(self._of(kind, most=1))
        close = difflib.get_close_matches(bare, there, 1)
        known = f"steps that do are {', '.join(there)}" if there else "no step does"
        return FieldError(
            loc=[loc, key],
            msg=f"{key!r} names no step that {does}",
            type="unknown_step",
            hint=f"did you mean {close[0]!r}?" if close else known,
        )

    def signals(self) -> set[str]:
        """The names of all that steps wait for."""
        plans = [self._plan, *map(self._child_plan, self._definition.workflows)]
        steps = [node.step for plan in plans for node in plan.nodes.values()]
        return {step.wait.signal for step in steps if isinstance(step, WaitStep) and step.wait.signal is not None}

    def signal_at(self, path: str) -> str | None:
        """The signal that the step at `path` waits for, if it waits for one."""
        bare = _without_places(path)
        for place, node in self._below(self._plan, "", (), bare.count("/") + 1):
            if place == bare and isinstance(node.step, WaitStep):
                return node.step.wait.signal
        return None

    def _of(self, kind: StepKind, *, most: int) -> Iterator[str]:
        """A workflow is entered `most` times inside itself."""
        return (path for path, node in self._below(self._plan, "", (), most) if node.kind == kind)

    def _below(self, plan: Plan, around: str, entered: Collection[str], most: int) -> Iterator[tuple[str, PlanNode]]:
        for node_id, node in plan.nodes.items():
            path = around + _place(plan, node_id)
            yield path, node
            if isinstance(node.step, WorkflowStep):
                ref = node.step.workflow
                if list(entered).count(ref) < most:
                    yield from self._below(self._child_plan(ref), f"{path}/", (*entered, ref), most)


def _place(plan: Plan, node_id: str) -> str:
    node = plan.nodes[node_id]
    own = node_id[len(node.owner) + 1 :] if node_id.startswith(f"{node.owner}.") else node_id
    # As the core names them: `router.choice`, `manager.round-1`, `worker.NAME-1`.
    own = {"router": "router.choice", "manager": "manager.round"}.get(own, own)
    return own if node.owner == ROOT else f"{_place(plan, node.owner)}/{own}"


def _without_places(key: str) -> str:
    segments = [_PLACE.sub("", segment) for segment in key.split("/")]
    counted = [segment.startswith(("manager.", "worker.")) for segment in segments]
    pairs = zip(segments, counted, strict=True)
    return "/".join(_COUNT.sub("", segment) if has_count else segment for segment, has_count in pairs)
