"""From the steps that must run again to all that depend on them."""

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

from studio.contracts.runs import block_of, is_inside
from studio.contracts.steps import (
    ConditionalBlock,
    GraphBlock,
    LoopBlock,
    ParallelBlock,
    SequentialBlock,
)
from studio.engine.afterwards import Afterwards
from studio.engine.dependencies import Uses, edge_uses, given_uses, output_uses, step_uses
from studio.engine.mishaps import Mishaps
from studio.engine.plan import ROOT
from studio.engine.recorded import Recorded

Effect = Callable[[str], None]
"""What it means that the step at a path may end otherwise."""


class Spread:
    def __init__(self, recorded: Recorded, fixed: Iterable[str]) -> None:
        """`fixed` never run again."""
        self.again: dict[str, str] = {}
        """By path, why; of a block, all inside it runs again."""
        self.anew: set[str] = set()
        """Of those, what has another reason than its own end."""
        self.dropped: set[str] = set()
        """Of those, what is reached only if an error that may not come comes again."""
        self.touched: set[str] = set()
        """The steps that may end otherwise: those that run again and the blocks around them."""
        self.worked: set[str] = set()
        """The blocks whose own work may go otherwise: not only what catches their errors."""
        self._recorded = recorded
        self._after = Afterwards(recorded)
        self._fixed = set(fixed)
        self._effects: dict[str, list[Effect]] = {}
        self._uses: dict[tuple[str, str], Uses | None] = {}
        self._work: deque[str] = deque()
        self._companions: dict[str, list[str]] = {}
        """By block, what it did without, and what runs again if its own work may go otherwise."""
        self._note_all()

    def start(self, path: str, why: str, *, goes_on: bool = False) -> None:
        """The step runs again, with all inside it. A child workflow that `goes_on` does so where it stopped."""
        if not goes_on:
            self.anew.add(path)
        if path in self.again or path in self._fixed or (path != ROOT and self._recorded.is_of_the_end(path)):
            return
        self.again[path] = why
        self._work.append(path)

    def start_from(self, path: str) -> None:
        """The step and all that comes after it run again."""
        self.start(path, "from_step names it")
        for later in self._after.all_of(path):
            self.start(later, f"it comes after {path}")

    def touch(self, path: str) -> None:
        """The step may end otherwise, and so may the blocks around it."""
        at = path
        while at not in self.touched:
            self.touched.add(at)
            for effect in self._effects.get(at, ()):
                effect(at)
            if at == ROOT:
                return
            around = block_of(at)
            if not self._recorded.is_beside(at):
                self._work_of(around)
            for later, why in self._after.because_of(at):
                self.start(later, why)
            if around != ROOT and around not in self._recorded.nodes:
                return  # it was not reached, so nothing depends on it
            at = around

    def alter(self, block: str) -> None:
        """The block goes otherwise, though what it did so far stays."""
        if block not in self.again and block not in self._fixed and not self._recorded.is_of_the_end(block):
            self._work_of(block)
            self.touch(block)

    def _run(self) -> None:
        while self._work:
            path = self._work.popleft()
            for inside in self._recorded.children.get(path, ()):
                if path != ROOT and self._recorded.is_beside(inside):
                    self._drop(inside)
                else:
                    self.start(inside, self.again[path] if path == ROOT else f"{path}, around it, runs again")
            self.touch(path)

    def _work_of(self, block: str) -> None:
        if block in self.worked:
            return
        self.worked.add(block)
        for inside in self._recorded.children[block]:
            if block != ROOT and self._recorded.is_beside(inside):
                self._drop(inside)
        self._accompany(block)

    def _accompany(self, block: str) -> None:
        for path in self._companions.get(block, ()):
            self.start(path, f"{block or 'the run'}, which did without it, runs again", goes_on=True)

    def _drop(self, path: str) -> None:
        for inside in [path, *self._recorded.inside(path)]:
            self.dropped.add(inside)
            self.start(inside, "the error that it catches may not come again")

    def all_of(self, mishaps: Mishaps) -> None:
        """What did not end well and was needed runs again, and all that depends on it."""
        for path, why in mishaps.lost.items():
            self.start(path, why, goes_on=path not in mishaps.refused or path in self.again)
        for path in mishaps.undone:
            self.start(path, "it was undone")
        for path, block in mishaps.spared:
            self._companions.setdefault(block, []).append(path)
        for block in [block for _, block in mishaps.spared if block in self.worked]:
            self._accompany(block)
        self._run()
        for block in reversed(mishaps.lost_blocks):  # from inside out
            cause = None if block in self.worked else mishaps.causes(block)
            if cause is not None:
                self.start(*cause)
                self._run()

    # Who uses what

    def _note_all(self) -> None:
        for path in [ROOT, *self._recorded.nodes]:
            if path != ROOT and self._recorded.is_of_the_end(path):
                continue
            node = self._recorded.plan.nodes[self._recorded.node(path)]
            if "." not in self._recorded.node(path):
                self._note(path, self._used(path, "step") or Uses(), partial(self._depends, path))
            if isinstance(node.body, GraphBlock):
                self._note_graph(path, node.body)

    def _depends(self, path: str, on: str) -> None:
        self.start(path, f"it uses {on or 'the input'}, which {'runs again' if on else 'is another one'}")

    def _used(self, path: str, what: str) -> Uses | None:
        key = (self._recorded.node(path), what)
        if key not in self._uses:
            find = step_uses if what == "step" else given_uses
            self._uses[key] = find(self._recorded.plan.nodes[key[0]])
        return self._uses[key]

    def _note(self, path: str, uses: Uses, effect: Effect) -> None:
        """`effect` comes of all that the step at a path uses."""
        for step in sorted(uses.steps & self._recorded.plan.nodes.keys()):
            for used in self._recorded.located(step, path):
                if used != path and not is_inside(used, path) and not is_inside(path, used):
                    self._effects.setdefault(used, []).append(effect)
        if uses.prev:
            self._note_previous(path, effect, default_input=False)
        if uses.default_input:
            self._note_previous(path, effect, default_input=True)

    def _note_previous(self, path: str, effect: Effect, *, default_input: bool) -> None:
        """What `prev` or the default input can be, looked for as `scope.previous` and `scope.default_input` do."""
        recorded, at = self._recorded, path
        while at != ROOT:
            around = block_of(at)
            body = recorded.body(around)
            is_beside = recorded.is_beside(at)
            if isinstance(body, GraphBlock) and not is_beside and self._is_led_to(around, at):
                return
            if default_input and isinstance(body, ParallelBlock) and body.do is not None and not is_beside:
                return
            if is_beside or isinstance(body, SequentialBlock | LoopBlock | ConditionalBlock):
                for before in recorded.before_in_chain(at):
                    self._effects.setdefault(before, []).append(effect)
                    if recorded.runs[before].status in {"succeeded", "failed"}:
                        return
            given = self._used(around, "given") if default_input and around != ROOT else None
            if given is not None:
                self._note(around, given, effect)
                return
            at = around

    def _is_led_to(self, graph: str, path: str) -> bool:
        """Whether edges led to a node's visit: what they bring is known by who reaches it."""
        net = self._recorded.plan.nets[self._recorded.node(graph)]
        return bool(net.into[self._recorded.nodes[path]])

    def _note_graph(self, graph: str, block: GraphBlock) -> None:
        for uses, target in edge_uses(block):
            self._note_edge(graph, uses, partial(self._leads, graph, target))
        if graph != ROOT:
            self._note(graph, output_uses(block), lambda _: self.touch(graph))

    def _note_edge(self, graph: str, uses: Uses, effect: Effect) -> None:
        for step in sorted(uses.steps & self._recorded.plan.nodes.keys()):
            for used in self._recorded.located(step, graph, all_visits=True):
                self._effects.setdefault(used, []).append(effect)
        if uses.prev:
            self._note_previous(graph, partial(self._depends, graph), default_input=False)

    def _leads(self, graph: str, target: str, since: str) -> None:
        for path, why in self._after.reached(graph, target, since, own=True):
            self.start(path, why)
