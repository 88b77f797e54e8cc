"""The rules of graphs as plainly as they can be written: every question is a search of the whole graph.

Stands beside the core as its oracle. Nodes are agents, transforms that end at once, or skipped by their `when`.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from studio.contracts.joins import AtLeast
from studio.contracts.steps import GraphBlock

Kind = Literal["agent", "transform", "skipped"]
Logged = tuple[str, str]


class SlowGraph:
    """`taken` says which edges a visit, by its path, sends a token along."""

    def __init__(self, block: GraphBlock, kinds: dict[str, Kind], taken: Callable[[str], Sequence[int]]) -> None:
        self._joins = {node.id: node.join for node in block.nodes}
        self._max_visits = {node.id: node.max_visits for node in block.nodes}
        self._edges = block.edges
        self._kinds = kinds
        self._taken = taken
        roots = [node for node in self._joins if not self._into(node)]
        self._starting = roots if block.start is None else [block.start]
        self._narrowed = block.start is not None
        self._pending: dict[int, int] = {}
        self._absorbed: dict[int, int] = {}
        self._visits: dict[str, int] = {}
        self._running: list[str] = []
        self._skipped: list[str] = []
        self._settles = deque(["settle"])
        self.open: dict[str, str] = {}
        """The agents under way: path to node."""
        self.log: list[Logged] = []
        self.failed = False
        self.ended = False
        self._work()

    def over(self, path: str) -> None:
        """The agent at a path has answered."""
        self._child_over(self.open.pop(path), path)
        self._work()

    def _work(self) -> None:
        while self._settles and not self.failed and not self.ended:
            self._settles.popleft()
            self._settle()

    def _child_over(self, node: str, path: str) -> None:
        self._running.remove(node)
        if self._kinds[node] == "skipped":
            self._narrowed = True
        else:
            self._put_tokens(node, path)
        self._settles.append("settle")

    def _put_tokens(self, node: str, path: str) -> None:
        taken = self._taken(path)
        for place, edge in enumerate(self._edges):
            if edge.source != node:
                continue
            if place not in taken:
                self._narrowed = True
                continue
            self.log.append(("edge.taken", path))
            if self._absorbed.get(place):
                self._absorbed[place] -= 1
                self._narrowed = True
            else:
                self._pending[place] = self._pending.get(place, 0) + 1

    def _settle(self) -> None:
        moved = True
        while moved:
            moved = False
            self._forget_debts()
            for node in self._waiting():
                runs = self._goes(node)
                if runs is not None:
                    moved = True
                    self._move(node, runs=runs)
                    if self.failed:
                        return
            ring = None if moved else self._ring()
            if ring is not None:
                moved = True
                self._move(ring, runs=self._joins[ring] == "all" or self._enough(ring))
                if self.failed:
                    return
        self._skip_unreachable()
        self.ended = not self._active()

    def _move(self, node: str, *, runs: bool) -> None:
        self._skip_unreachable()
        visits = self._visits.get(node, 0)
        if not runs or visits >= self._max_visits[node]:
            self.failed = True
            return
        if self._joins[node] != "all":
            for place in self._into(node):
                self._absorbed[place] = int(not self._pending.get(place) and self._can_come(node, place))
        for place in self._into(node):
            if self._pending.get(place):
                self._pending[place] -= 1
        if node in self._starting:
            self._starting.remove(node)
        self._visits[node] = visits + 1
        self._running.append(node)
        path = f"g/{node}@{visits}" if visits else f"g/{node}"
        self.log.append(("step.skipped" if self._kinds[node] == "skipped" else "step.started", path))
        if self._kinds[node] == "agent":
            self.open[path] = node
        else:
            self._child_over(node, path)

    def _skip_unreachable(self) -> None:
        if not self._narrowed:
            return
        self._narrowed = False
        reachable = self._active()
        while more := {edge.target for edge in self._edges if edge.source in reachable} - reachable:
            reachable |= more
        for node in self._joins:
            if node not in reachable and not self._visits.get(node) and node not in self._skipped:
                self._skipped.append(node)
                self.log.append(("step.skipped", f"g/{node}"))

    # What can still happen

    def _into(self, node: str) -> list[int]:
        return [place for place, edge in enumerate(self._edges) if edge.target == node]

    def _empty(self, node: str) -> list[int]:
        return [place for place in self._into(node) if not self._pending.get(place)]

    def _active(self) -> set[str]:
        held = {self._edges[place].target for place, count in self._pending.items() if count}
        return {*self._running, *self._starting, *held}

    def _waiting(self) -> list[str]:
        held = self._active() - set(self._running)
        return [node for node in self._joins if node in held]

    def _blockers(self, node: str, places: Iterable[int]) -> set[str]:
        """The active nodes that can still reach a source of the edges without passing through the node."""
        before = {self._edges[place].source for place in places} - {node}
        while more := {edge.source for edge in self._edges if edge.target in before} - before - {node}:
            before |= more
        return before & self._active()

    def _can_come(self, node: str, place: int) -> bool:
        return bool(self._blockers(node, [place]))

    def _goes(self, node: str) -> bool | None:
        join = self._joins[node]
        if node in self._starting:
            return True
        if self._enough(node):
            return None if self._blockers(node, self._owed(node)) else True
        empty = self._empty(node)
        if not isinstance(join, AtLeast):
            return None if self._blockers(node, empty) else True
        have = len(self._into(node)) - len(empty)
        coming = sum(1 for place in empty if self._can_come(node, place))
        return None if have + coming >= join.at_least else False

    def _enough(self, node: str) -> bool:
        """Whether a join that does not wait for all holds the tokens that it waits for."""
        join = self._joins[node]
        have = len(self._into(node)) - len(self._empty(node))
        return join != "all" and have >= (join.at_least if isinstance(join, AtLeast) else 1)

    def _owed(self, node: str) -> list[int]:
        return [place for place in self._into(node) if self._absorbed.get(place)]

    def _awaited(self, node: str) -> list[int]:
        return self._owed(node) if self._enough(node) else self._empty(node)

    def _ring(self) -> str | None:
        """The first node of a group that waits for nobody but itself."""
        waiting = self._waiting()
        waits_for = {node: self._blockers(node, self._awaited(node)) for node in waiting}
        closures = {node: self._closure(node, waits_for) for node in waiting}
        for node in waiting:
            around = closures[node]
            if not around & set(self._running) and all(node in closures[other] for other in around):
                return node
        return None

    def _closure(self, node: str, waits_for: dict[str, set[str]]) -> set[str]:
        found = set(waits_for[node])
        while more := {far for near in found for far in waits_for.get(near, ())} - found:
            found |= more
        return found

    def _forget_debts(self) -> None:
        for place, count in list(self._absorbed.items()):
            if not count or not self._can_come(self._edges[place].target, place):
                del self._absorbed[place]
