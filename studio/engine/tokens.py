"""The tokens of one graph, and what can still come.

A component is a set of nodes that are in cycles with each other; most have one node. An edge between two components is
over, once and for all, when nothing can move any more in its source's component and before it: `Mesh.open` counts, of
each node, the edges from other components that are neither over nor hold a token, and each edge is counted off once.
Only inside a cycle must paths be searched, and only there.
"""

from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush
from itertools import islice
from typing import TypeVar

from studio.contracts.joins import AtLeast
from studio.engine.frames import Mesh
from studio.engine.plan import Net

KeyT = TypeVar("KeyT", int, str)
_OTHERS = ""
"""Stands for all that moves by itself: no node has this id."""


def opened(net: Net, starts: list[str]) -> Mesh:
    """A graph of which nothing has run."""
    mesh = Mesh(starting=list(starts), open=dict(net.outer), due=dict.fromkeys(starts, True))
    tokens = Tokens(net, mesh)
    for number, members in enumerate(net.components):
        if not any(node in net.outer for node in members):
            tokens.wither(number)
    return mesh


class Tokens:
    """Changes the `Mesh` that it is given."""

    def __init__(self, net: Net, mesh: Mesh) -> None:
        self.net = net
        self.mesh = mesh

    def active(self, node: str) -> bool:
        """Whether the node runs, holds a token or is a start that has not begun."""
        mesh = self.mesh
        return node in mesh.running or node in mesh.held or node in mesh.starting

    @property
    def anything_active(self) -> bool:
        return bool(self.mesh.running or self.mesh.held or self.mesh.starting)

    def _waits(self, node: str) -> bool:
        return node not in self.mesh.running and (node in self.mesh.held or node in self.mesh.starting)

    def _live(self, component: int) -> bool:
        """Whether anything can still happen in it."""
        return any(self.active(node) or node in self.mesh.open for node in self.net.components[component])

    def _inside(self, place: int) -> bool:
        """Whether an edge stays within its component."""
        edge, of = self.net.edges[place], self.net.component
        return of[edge.source] == of[edge.target]

    # What moves tokens

    def put(self, place: int, path: str) -> bool:
        """The visit at `path` sends a token along an edge. False when an earlier visit of the target did not wait for
        that token, which comes to nothing.
        """
        mesh, node = self.mesh, self.net.edges[place].target
        waited = self._waits(node)
        if place in mesh.absorbed:
            _count(mesh.absorbed, place, -1)
            if waited:
                mesh.due.setdefault(node, True)
                self._stir(node)
            return False
        if place not in mesh.pending:
            _count(mesh.held, node, 1)
            if not self._inside(place):
                _count(mesh.open, node, -1)
        _count(mesh.pending, place, 1)
        mesh.carried[place] = path
        mesh.due.setdefault(node, waited)
        self._stir(node)
        return True

    def take(self, node: str) -> list[str]:
        """One token from every edge that holds one; returns the paths of the visits that sent them, in that order."""
        mesh, before = self.mesh, list[str]()
        for place in self.net.into[node]:
            if place not in mesh.pending:
                continue
            before.append(mesh.carried[place])
            _count(mesh.pending, place, -1)
            if place not in mesh.pending:
                del mesh.carried[place]
                _count(mesh.held, node, -1)
                if not self._inside(place) and self._live(self.net.component[self.net.edges[place].source]):
                    _count(mesh.open, node, 1)
        if node in mesh.starting:
            mesh.starting.remove(node)
        return before

    def rested(self, node: str) -> None:
        """The node does not run any more, or its tokens came to nothing."""
        if node in self.mesh.held:
            self.mesh.due.setdefault(node, False)
        self._loosen(node)
        self.wither(self.net.component[node])

    def _stir(self, node: str) -> bool:
        """Note that a ring may have closed. Returns whether the node is in a cycle with others at all."""
        component = self.net.component[node]
        if len(self.net.components[component]) == 1:
            return False
        if component not in self.mesh.stirred:
            self.mesh.stirred.append(component)
        return True

    def _loosen(self, node: str) -> None:
        """Less than before can come from the node: those that it is in cycles with may wait for nothing any more."""
        if self._stir(node):
            for other in self.net.components[self.net.component[node]]:
                if self._waits(other):
                    self.mesh.due.setdefault(other, True)

    def wither(self, component: int) -> None:
        """If nothing can happen in the component any more, nothing comes along the edges out of it."""
        pending, over = [component], set[int]()
        while pending:
            at = pending.pop()
            if at in over or self._live(at):
                continue
            over.add(at)
            self.mesh.withered += self.net.components[at]
            for node in self.net.components[at]:
                for place in self.net.out[node]:
                    if not self._inside(place):
                        pending += self._is_over(place)

    def _is_over(self, place: int) -> list[int]:
        """Nothing comes along an edge any more. Returns its target's component if that can wither by it."""
        mesh, node = self.mesh, self.net.edges[place].target
        mesh.absorbed.pop(place, None)
        if place in mesh.pending:
            self._stir(node)
            return []
        _count(mesh.open, node, -1)
        if self._waits(node):
            mesh.due.setdefault(node, True)
        self._loosen(node)
        return [] if node in mesh.open else [self.net.component[node]]

    # Whose turn it is

    def turns(self) -> Iterator[str]:
        """The nodes whose join may be met by now, in document order. A node that begins to wait meanwhile, or that
        stands before the one whose turn it is, must wait for the next round of turns.
        """
        mesh, order = self.mesh, self.net.order
        for component in mesh.stirred:
            self._forget_debts(component)
        coming = [order[node] for node in mesh.due if self._waits(node)]
        heapify(coming)
        queued, seen = set(coming), 0
        mesh.due = {}
        while coming:
            at = heappop(coming)
            yield self.net.nodes[at]
            for other, waited in islice(mesh.due.items(), seen, None):
                seen += 1
                if waited and order[other] > at and order[other] not in queued:
                    queued.add(order[other])
                    heappush(coming, order[other])

    def goes(self, node: str) -> bool | None:
        """True when the node runs now, False when its join can never be met, None while it waits."""
        join = self.net.joins[node]
        if node in self.mesh.starting:
            return True
        if self.enough(node):
            return None if any(self._can_come(place) for place in self._owed(node)) else True
        empty = [place for place in self._inner(node) if place not in self.mesh.pending]
        open_edges = self.mesh.open.get(node, 0)
        if not isinstance(join, AtLeast):
            if open_edges:
                return None
            return None if self._blockers(node, empty) else True
        have = self.mesh.held.get(node, 0)
        coming = open_edges + sum(1 for place in empty if self._can_come(place))
        return None if have + coming >= join.at_least else False

    def unmet(self, node: str) -> str:
        """What to say of a join that can never be met."""
        join, total = self.net.joins[node], len(self.net.into[node])
        needed = join.at_least if isinstance(join, AtLeast) else 1
        came = self.mesh.held.get(node, 0)
        return f"The join of the node {node!r} needs {needed} of {total}, {came} came, and no more can come."

    def enough(self, node: str) -> bool:
        """Whether a join that does not wait for all holds the tokens that it waits for."""
        join = self.net.joins[node]
        return join != "all" and self.mesh.held.get(node, 0) >= (join.at_least if isinstance(join, AtLeast) else 1)

    def _owed(self, node: str) -> list[int]:
        return [place for place in self.net.into[node] if place in self.mesh.absorbed]

    def ring(self) -> str | None:
        """The first node of a group that waits for nobody but itself."""
        firsts = {component: self._ring_in(component) for component in self.mesh.stirred}
        self.mesh.stirred = [component for component, first in firsts.items() if first is not None]
        found = [first for first in firsts.values() if first is not None]
        return min(found, key=self.net.order.__getitem__, default=None)

    def _ring_in(self, component: int) -> str | None:
        waiting = [node for node in self.net.components[component] if self._waits(node)]
        waits_for: dict[str, set[str]] = {}
        for node in waiting:
            if self.enough(node):
                awaited = self._owed(node)
                others = not all(self._inside(place) for place in awaited)
            else:
                awaited = [place for place in self._inner(node) if place not in self.mesh.pending]
                others = node in self.mesh.open
            waits_for[node] = {_OTHERS} if others else self._blockers(node, awaited, all_of_them=True)
        around = {node: _closure(node, waits_for) for node in waiting}
        for node in waiting:
            if _OTHERS not in around[node] and all(node in around[other] for other in around[node]):
                return node
        return None

    # Inside a cycle

    def _inner(self, node: str) -> list[int]:
        """The edges into a node from the nodes that it is in cycles with, itself left out."""
        if len(self.net.components[self.net.component[node]]) == 1:
            return []
        edges = self.net.edges
        return [place for place in self.net.into[node] if edges[place].source != node and self._inside(place)]

    def _blockers(self, node: str, places: Iterable[int], *, all_of_them: bool = False) -> set[str]:
        """What can still lead to a token on one of a node's inner edges without passing through the node: a waiting
        node of its component, or `_OTHERS` for what runs there or comes from elsewhere. One is enough, unless all are
        asked for; after `_OTHERS` no more are looked for.
        """
        edges = self.net.edges
        pending = list(dict.fromkeys(edges[place].source for place in places))
        seen, found = {node, *pending}, set[str]()
        while pending:
            at = pending.pop()
            if at in self.mesh.running or at in self.mesh.open or (all_of_them and self._is_fed(at)):
                found.add(_OTHERS)
            elif self.active(at):
                found.add(at)
            if _OTHERS in found or (found and not all_of_them):
                return found
            for place in self._inner(at):
                source = edges[place].source
                if source not in seen:
                    seen.add(source)
                    pending.append(source)
        return found

    def _is_fed(self, node: str) -> bool:
        """Whether a further token can come from other components along an edge that holds one."""
        held = [place for place in self.net.into[node] if place in self.mesh.pending and not self._inside(place)]
        return any(self._live(self.net.component[self.net.edges[place].source]) for place in held)

    def _can_come(self, place: int) -> bool:
        """Whether a token can still come along an edge that holds none."""
        edge = self.net.edges[place]
        if not self._inside(place):
            return self._live(self.net.component[edge.source])
        return edge.source != edge.target and bool(self._blockers(edge.target, [place]))

    def owe(self, node: str) -> None:
        """A join that does not wait for all lets the others' tokens come to nothing, once each, and is blocked until
        then. What it was owed before is forgotten: it cannot come any more, or comes only after this visit.
        """
        for place in self.net.into[node]:
            self.mesh.absorbed.pop(place, None)
            if place not in self.mesh.pending and self._can_come(place):
                self.mesh.absorbed[place] = 1

    def _forget_debts(self, component: int) -> None:
        for place in list(self.mesh.absorbed):
            target = self.net.edges[place].target
            if self.net.component[target] == component and self._inside(place) and not self._can_come(place):
                del self.mesh.absorbed[place]


def _count(counts: dict[KeyT, int], key: KeyT, change: int) -> None:
    """Zero is not kept."""
    counts[key] = counts.get(key, 0) + change
    if not counts[key]:
        del counts[key]


def _closure(node: str, waits_for: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    pending = [node]
    while pending:
        for other in waits_for.get(pending.pop(), set()):
            if other not in found:
                found.add(other)
                pending.append(other)
    return found
