"""Graphs: tokens on edges, joins that never wait for a token that cannot come, and never fire while one still can.

A node's end puts a token on every edge out of it whose condition holds. A node is active while it runs, holds tokens,
or is a start that has not begun. An edge without a token can still get one while an active node, other than the edge's
target, reaches the edge's source without passing through the target. That is all that a join needs to know: there are
no dead-path tokens to be carried, and cycles need no rule of their own but for nodes that wait only for each other.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import cast

from studio.contracts.base import Json
from studio.contracts.joins import AtLeast
from studio.contracts.runs import RunError, StepRun
from studio.contracts.steps import GraphBlock
from studio.engine.plan import ROOT, Net
from studio.engine.scope import UnusableError, child_path
from studio.engine.state import Mesh
from studio.engine.turn import Turn


def begin(turn: Turn, path: str, block: GraphBlock) -> None:
    frame = turn.frame(path)
    net = turn.plan.nets[frame.node]
    starts = [block.start] if block.start is not None else [node.id for node in block.nodes if not net.into[node.id]]
    frame.mesh = Mesh(starting=starts, narrowed=block.start is not None)
    turn.later("settle", path)


def child_over(turn: Turn, path: str, child: str, node: str, uncaught: RunError | None) -> None:
    frame = turn.frame(path)
    mesh = cast("Mesh", frame.mesh)
    mesh.running.remove(node)
    if frame.stopping:
        turn.later("stopped", path)
        return
    if uncaught is not None:
        turn.halt(path, uncaught)
        return
    if turn.state.steps[child].status == "skipped":
        mesh.narrowed = True
    else:
        mesh.last = child
        try:
            _put_tokens(turn, path, mesh, child, node)
        except UnusableError as unusable:
            turn.halt(path, unusable.error)
            return
    turn.later("settle", path)


def _put_tokens(turn: Turn, path: str, mesh: Mesh, child: str, node: str) -> None:
    """Raises `UnusableError`."""
    net = turn.plan.nets[turn.state.frames[path].node]
    for place in net.out[node]:
        edge = net.edges[place]
        if not turn.holds(path, edge.when, "when"):
            mesh.narrowed = True
            continue
        target = child_path(turn.state, path, edge.target)
        data: dict[str, Json] = {"from": child, "to": target, "why": "always" if edge.when is True else edge.when}
        turn.record.publish("edge.taken", child, data)
        if mesh.absorbed.get(place):
            mesh.absorbed[place] -= 1
            mesh.narrowed = True
            continue
        mesh.pending[place] = mesh.pending.get(place, 0) + 1
        mesh.carried[place] = child


def settle(turn: Turn, path: str) -> None:
    """Run every node whose join is met; end the graph when no token can move any more."""
    frame = turn.frame(path)
    if frame.mesh is None:
        return  # decided earlier in this turn
    look = _Look(turn.plan.nets[frame.node], frame.mesh)
    joins = {node: turn.plan.nodes[node].step.join for node in turn.plan.groups[frame.node]}
    moved = True
    while moved and not frame.stopping:
        moved = False
        look.forget_debts()
        for node in look.waiting(joins):
            go = look.goes(node, joins[node])
            if go is not None:
                moved = True
                _move(turn, path, look, node, runs=go)
                if frame.stopping:
                    return
        if not moved:
            ring = look.ring(look.waiting(joins))
            if ring is not None:
                moved = True
                _move(turn, path, look, ring, runs=joins[ring] == "all")
    _skip_unreachable(turn, path, look, list(joins))
    if not look.active():
        _end(turn, path, frame.mesh)


def _move(turn: Turn, path: str, look: "_Look", node: str, *, runs: bool) -> None:
    """Take the tokens and run the node; or let them vanish, when its join can no longer be met."""
    mesh = look.mesh
    step = turn.plan.nodes[node].step
    visits = mesh.visits.get(node, 0)
    if runs and visits >= step.max_visits:
        message = f"The node {node!r} was reached more than max_visits, {step.max_visits} times."
        turn.halt(path, RunError(type="limit_exceeded", message=message))
        return
    if runs and step.join != "all":
        look.owe(node)
    before = [mesh.carried[place] for place in look.net.into[node] if mesh.pending.get(place)]
    for place in look.net.into[node]:
        if mesh.pending.get(place):
            mesh.pending[place] -= 1
    if node in mesh.starting:
        mesh.starting.remove(node)
    if not runs:
        mesh.narrowed = True
        return
    base = child_path(turn.state, path, node)
    if visits:
        turn.state.visits[base] = visits
    mesh.visits[node] = visits + 1
    mesh.running.append(node)
    turn.reach(path, node, place=f"{node}@{visits}" if visits else node, before=before)


def _skip_unreachable(turn: Turn, path: str, look: "_Look", nodes: Iterable[str]) -> None:
    mesh = look.mesh
    if not mesh.narrowed:
        return
    mesh.narrowed = False
    reachable = look.reachable()
    for node in nodes:
        if node not in reachable and not mesh.visits.get(node) and node not in mesh.skipped:
            mesh.skipped.append(node)
            place = child_path(turn.state, path, node)
            step = turn.plan.nodes[node]
            turn.state.steps[place] = StepRun(
                id=place, kind=step.kind, name=step.step.name, agent=step.agent, status="skipped"
            )
            turn.record.publish("step.skipped", place, {"kind": step.kind, "when": "no edge leads to it any more"})


def _end(turn: Turn, path: str, mesh: Mesh) -> None:
    frame = turn.frame(path)
    block = cast("GraphBlock", turn.node(path).body)
    net = turn.plan.nets[frame.node]
    try:
        if path != ROOT and "output" in block.model_fields_set:
            turn.succeed(path, turn.evaluate(path, block.output))
            return
    except UnusableError as unusable:
        turn.fail(path, unusable.error)
        return
    ends = [node.id for node in block.nodes if not net.out[node.id]]
    if not ends:
        turn.succeed(path, turn.state.steps[mesh.last].output if mesh.last else None)
        return
    outputs: dict[str, Json] = {node: _latest(turn, path, mesh, node) for node in ends}
    turn.succeed(path, outputs[ends[0]] if len(ends) == 1 else outputs)


def _latest(turn: Turn, path: str, mesh: Mesh, node: str) -> Json:
    visits = mesh.visits.get(node, 0)
    place = child_path(turn.state, path, f"{node}@{visits - 1}" if visits > 1 else node)
    step = turn.state.steps.get(place)
    return None if step is None else step.output


class _Look:
    """What can still happen in a graph."""

    def __init__(self, net: Net, mesh: Mesh) -> None:
        self.net = net
        self.mesh = mesh

    def _tokens(self, node: str) -> int:
        return sum(1 for place in self.net.into[node] if self.mesh.pending.get(place))

    def active(self) -> set[str]:
        held = {self.net.edges[place].target for place, count in self.mesh.pending.items() if count}
        return {*self.mesh.running, *self.mesh.starting, *held}

    def waiting(self, order: Iterable[str]) -> list[str]:
        """Nodes that hold a token, or are to start, and do not run; in document order."""
        held = self.active() - set(self.mesh.running)
        return [node for node in order if node in held] if held else []

    def _sources(self, node: str) -> list[str]:
        """Where the edges come from on which no token waits."""
        return [self.net.edges[place].source for place in self.net.into[node] if not self.mesh.pending.get(place)]

    def _blockers(self, node: str, sources: Iterable[str], until: Callable[[str], bool]) -> set[str]:
        """The active nodes that can still reach one of the sources without passing through the node; no more are
        looked for after the first one for which `until` holds.
        """
        active = self.active() - {node}
        seen = {source for source in sources if source != node}
        pending = deque(sorted(seen))
        found: set[str] = set()
        while pending:
            at = pending.popleft()
            if at in active:
                found.add(at)
                if until(at):
                    return found
            for place in self.net.into[at]:
                source = self.net.edges[place].source
                if source != node and source not in seen:
                    seen.add(source)
                    pending.append(source)
        return found

    def _can_come(self, node: str, place: int) -> bool:
        return bool(self._blockers(node, [self.net.edges[place].source], lambda _: True))

    def goes(self, node: str, join: AtLeast | str) -> bool | None:
        """True when the node runs now, False when its join can never be met, None while it waits."""
        if node in self.mesh.starting:
            return True
        if join == "any":
            return True
        if isinstance(join, AtLeast):
            have = self._tokens(node)
            if have >= join.at_least:
                return True
            empty = [place for place in self.net.into[node] if not self.mesh.pending.get(place)]
            coming = sum(1 for place in empty if self._can_come(node, place))
            return None if have + coming >= join.at_least else False
        return None if self._blockers(node, self._sources(node), lambda _: True) else True

    def ring(self, waiting: list[str]) -> str | None:
        """The first node of a group that waits for nobody but itself."""
        running = set(self.mesh.running)
        waits_for: dict[str, set[str]] = {}
        for node in waiting:
            waits_for[node] = self._blockers(node, self._sources(node), lambda found: found in running)
        closure = {node: _closure(node, waits_for) for node in waiting}
        for node in waiting:
            if not closure[node] & running and all(node in closure[other] for other in closure[node]):
                return node
        return None

    def owe(self, node: str) -> None:
        """A join that does not wait for all lets the others' tokens come to nothing, once each."""
        for place in self.net.into[node]:
            if not self.mesh.pending.get(place) and self._can_come(node, place):
                self.mesh.absorbed[place] = self.mesh.absorbed.get(place, 0) + 1

    def forget_debts(self) -> None:
        for place, count in list(self.mesh.absorbed.items()):
            if not count or not self._can_come(self.net.edges[place].target, place):
                del self.mesh.absorbed[place]

    def reachable(self) -> set[str]:
        """The active nodes and all that they can lead to."""
        pending = deque(sorted(self.active()))
        found = set(pending)
        while pending:
            for place in self.net.out[pending.popleft()]:
                target = self.net.edges[place].target
                if target not in found:
                    found.add(target)
                    pending.append(target)
        return found


def _closure(node: str, waits_for: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    pending = [node]
    while pending:
        for other in waits_for.get(pending.pop(), set()):
            if other not in found:
                found.add(other)
                pending.append(other)
    return found
