"""The token game of a graph: which node may run, and which is not going to."""

from collections.abc import Iterable, Mapping, Sequence

from studio.contracts.joins import AtLeast
from studio.contracts.steps import Edge, Step


class Tokens:
    """Tokens on the edges of a graph. Only the nodes that run and the start nodes make new ones.

    A node waits for an edge without a token as long as one could still be put there if the node itself did not run. One
    that went on without waiting for all is closed until each of the others has come, or is not going to.
    """

    def __init__(self, nodes: Sequence[Step], edges: Sequence[Edge], starting: Iterable[str]) -> None:
        self._nodes = nodes
        self._edges = edges
        self.starting = set(starting)
        self.running: list[str] = []
        """Once for each visit under way."""
        self._on = [0] * len(edges)
        self._turns: list[Step] = []
        self.unmet = False
        """Whether a join holds tokens that are too few for it and will stay so."""
        self._late = [False] * len(edges)
        """Tokens to come that the visit of the target before did not wait for."""

    def put(self, edge: int) -> None:
        if self._late[edge]:
            self._late[edge] = False
        else:
            self._on[edge] += 1

    def next(self) -> str | None:
        """The next node that may run now; its tokens are taken and it counts as running. In document order, and none
        twice before all others had their turn.
        """
        while True:
            fresh = not self._turns
            if fresh:
                self._turns = [node for node in self._nodes if node.id in self._active()]
            while self._turns:
                node = self._turns.pop(0)
                if node.id in self.starting or (node.id not in self.running and self._ready(node, self._missing(node))):
                    return self._take(node)
            if fresh:
                return self._first_of_a_circle()

    def _first_of_a_circle(self) -> str | None:
        """The first node that waits, over others or not, only for nodes that wait for it in turn."""
        waiting = {node.id: self._waits_for(node) for node in self._nodes if node.id in self._active()}
        for node in self._nodes:
            if node.id in self.running or node.id not in waiting:
                continue
            circle = _closure(node.id, waiting)
            if not circle & set(self.running) and all(node.id in _closure(other, waiting) for other in circle):
                if node.join == "all" or self._has_enough(node):
                    return self._take(node)
                self.unmet = True
                return None
        return None

    def _waits_for(self, node: Step) -> set[str]:
        awaited = self._closed_by(node) if self._has_enough(node) else self._missing(node)
        sources = {self._edges[edge].source for edge in awaited}
        return {other for other in self._active() if other != node.id and sources & self._from([other], node.id)}

    def settle(self) -> None:
        """Forget what can no longer come, and see whether tokens are too few for their join and will stay so."""
        for node in self._nodes:
            into, missing = self._into(node), self._missing(node)
            for edge in into:
                if self._late[edge] and not self._comes(edge, node):
                    self._late[edge] = False
            if isinstance(node.join, AtLeast):
                have = [edge for edge in into if self._on[edge]]
                if have and node.id not in self.running and len(have) + len(missing) < node.join.at_least:
                    self.unmet = True

    def reached(self) -> set[str]:
        """The nodes that run, or may still."""
        return self._from(self._active(), None)

    def _into(self, node: Step) -> list[int]:
        return [place for place, edge in enumerate(self._edges) if edge.target == node.id]

    def _missing(self, node: Step) -> list[int]:
        return [edge for edge in self._into(node) if not self._on[edge] and self._comes(edge, node)]

    def _comes(self, edge: int, node: Step) -> bool:
        active = [other for other in self._active() if other != node.id]
        return self._edges[edge].source in self._from(active, node.id)

    def _active(self) -> list[str]:
        with_token = [edge.target for place, edge in enumerate(self._edges) if self._on[place]]
        return [*self.running, *self.starting, *with_token]

    def _from(self, active: Sequence[str], without: str | None) -> set[str]:
        """What they lead to, themselves included; nothing is entered that is `without`."""
        found, todo = set[str](), list(active)
        while todo:
            node = todo.pop()
            if node not in found:
                found.add(node)
                todo += [edge.target for edge in self._edges if edge.source == node and edge.target != without]
        return found

    def _ready(self, node: Step, missing: Sequence[int]) -> bool:
        if node.join == "all":
            return not missing and any(self._on[edge] for edge in self._into(node))
        return self._has_enough(node) and not self._closed_by(node)

    def _has_enough(self, node: Step) -> bool:
        have = sum(1 for edge in self._into(node) if self._on[edge])
        match node.join:
            case "any":
                return have > 0
            case "all":
                return False
            case join:
                return have >= join.at_least

    def _closed_by(self, node: Step) -> list[int]:
        """The edges whose tokens the visit before left behind and that still come."""
        return [edge for edge in self._into(node) if self._late[edge] and self._comes(edge, node)]

    def _take(self, node: Step) -> str:
        self.starting.discard(node.id)
        late = [] if node.join == "all" else self._missing(node)
        for edge in self._into(node):
            self._on[edge] -= bool(self._on[edge])
        for edge in self._into(node):
            self._late[edge] = edge in late
        self.running.append(node.id)
        return node.id


def _closure(node: str, waiting: Mapping[str, set[str]]) -> set[str]:
    """Those that it waits for, and those that they wait for, and so on."""
    found, todo = set[str](), [node]
    while todo:
        for other in waiting.get(todo.pop(), ()):
            if other not in found:
                found.add(other)
                todo.append(other)
    return found
