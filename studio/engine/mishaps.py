"""The steps that did not end well: which of them must run again, and which the run did without."""

from studio.contracts.runs import RunError, RunStatus, StepRun, StepStatus, block_of
from studio.contracts.steps import HierarchicalBlock, ParallelBlock
from studio.engine.plan import ROOT
from studio.engine.recorded import Recorded

_BAD: frozenset[StepStatus] = frozenset({"failed", "cancelled", "running", "waiting"})


def is_refused(path: str, error: RunError | None) -> bool:
    """Whether what the child workflow of the step at `path` gave does not fit the step's schema: the child must begin
    at its beginning, since going on inside would give the same. A failure inside names a step there.
    """
    return error is not None and error.type == "schema_mismatch" and error.step_id in {None, path}


class Mishaps:
    """Each in the order in which they were reached; blocks apart, since what ended badly inside them says more."""

    def __init__(self, recorded: Recorded, status: RunStatus) -> None:
        """`status` is the run's."""
        self._recorded = recorded
        self._status = status
        self.lost: dict[str, str] = {}
        """What was needed, and why it must run again."""
        self.refused: set[str] = set()
        """Of those, the child workflows that ended well."""
        self.lost_blocks: dict[str, None] = {}
        self.spared: list[tuple[str, str]] = []
        """Each with the block that did without it."""
        self.undone: list[str] = []
        """The steps that were compensated."""
        for path, node in recorded.nodes.items():
            step, group = recorded.runs[path], recorded.plan.nodes[node].group
            if group.endswith("~") and step.started_at is not None and step.status != "pending":
                self.undone.append(block_of(path))
            if step.status in _BAD and not recorded.is_of_the_end(path):
                self._judge(path, step)

    def _judge(self, path: str, step: StepRun) -> None:
        is_block = self._recorded.is_block(path)
        without = self._did_without(path)
        if without is None and is_block:
            self.lost_blocks[path] = None
        elif without is None:
            why = f"it failed: {step.error.type}" if step.status == "failed" and step.error else "it had not ended"
            self.lost[path] = "it was cancelled" if step.status == "cancelled" else why
            if step.kind == "workflow" and is_refused(path, step.error):
                self.refused.add(path)
        elif not is_block and without != path:
            self.spared.append((path, without))

    def _did_without(self, path: str) -> str | None:
        """The step whose `on_error` caught the failure, or whose join did not need the step; None when there is none.
        What `continue` or `collect` passed over left a hole: it was needed.
        """
        if self._is_caught(path):
            return path
        at = path
        while at != ROOT:
            around = block_of(at)
            if not self._recorded.is_beside(at) and (self._is_caught(around) or self._is_met_without(around, at)):
                return around
            at = around
        return None

    def _is_caught(self, path: str) -> bool:
        if path == ROOT:
            return False
        step, node = self._recorded.runs[path], self._recorded.plan.nodes[self._recorded.nodes[path]]
        return step.status == "failed" and step.handled and not isinstance(node.step.on_error, str)

    def _is_met_without(self, block: str, path: str) -> bool:
        step = self._recorded.runs[path]
        ended = self._status if block == ROOT else self._recorded.runs[block].status
        if ended != "succeeded" or not (step.status == "cancelled" or (step.status == "failed" and not step.handled)):
            return False
        body = self._recorded.body(block)
        if isinstance(body, ParallelBlock):
            return step.status == "cancelled" or body.join != "all" or body.on_branch_error != "collect"
        return isinstance(body, HierarchicalBlock) and not self._recorded.nodes[path].endswith(".manager")

    def causes(self, block: str) -> tuple[str, str] | None:
        """Of a block that failed though nothing in it did: the step whose end made it fail, and why that is."""
        error = self._recorded.runs[block].error
        if error is None:
            return None
        named = error.step_id or block
        if named != block:
            step = self._recorded.runs.get(named)
            is_cause = named in self._recorded.nodes and step is not None and step.status == "succeeded"
            return (named, f"{block} failed by what it gave") if is_cause else None
        ended = [
            (step.ended_at, self._recorded.order[path], path)
            for path in self._recorded.inside(block)
            if (step := self._recorded.runs[path]).status == "succeeded"
            and step.ended_at is not None
            and not self._recorded.is_block(path)
        ]
        return (max(ended)[2], f"{block} failed by itself after it") if ended else None
