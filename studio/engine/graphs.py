"""Graphs: tokens on edges, joins that never wait for a token that cannot come, and never fire while one still can.

A node's end puts a token on every edge out of it whose condition holds. A node is active while it runs, holds tokens,
or is a start that has not begun. An edge without a token can still get one while an active node, other than the edge's
target, reaches the edge's source without passing through the target. That is all that a join needs to know: there are
no dead-path tokens to be carried, and cycles need no rule of their own but for nodes that wait only for each other.
A node that did not wait for all its edges does not run again before the tokens that it left behind have come, or
cannot come any more: those come to nothing, once each.
`tokens.py` keeps account of it.
"""

from typing import cast

from studio.contracts.base import Json
from studio.contracts.runs import RunError, StepRun
from studio.contracts.steps import GraphBlock
from studio.engine.frames import Mesh
from studio.engine.plan import ROOT
from studio.engine.scope import UnusableError, child_path
from studio.engine.tokens import Tokens, opened
from studio.engine.turn import Turn
from studio.engine.unreached import list_held


def begin(turn: Turn, path: str, block: GraphBlock) -> None:
    frame = turn.frame(path)
    net = turn.plan.nets[frame.node]
    starts = [block.start] if block.start is not None else [node.id for node in block.nodes if not net.into[node.id]]
    frame.mesh = opened(net, starts)
    turn.later("settle", path)


def child_over(turn: Turn, path: str, child: str, node: str, uncaught: RunError | None) -> None:
    frame = turn.frame(path)
    mesh = cast("Mesh", frame.mesh)
    del mesh.running[node]
    if frame.stopping:
        turn.later("stopped", path)
        return
    if uncaught is not None:
        turn.halt(path, uncaught)
        return
    tokens = Tokens(turn.plan.nets[frame.node], mesh)
    if turn.state.steps[child].status != "skipped":
        mesh.last = child
        try:
            _put_tokens(turn, path, tokens, child, node)
        except UnusableError as unusable:
            turn.halt(path, unusable.error)
            return
    tokens.rested(node)
    turn.later("settle", path)


def _put_tokens(turn: Turn, path: str, tokens: Tokens, child: str, node: str) -> None:
    """Raises `UnusableError`."""
    for place in tokens.net.out[node]:
        edge = tokens.net.edges[place]
        if not turn.holds(path, edge.when, "when"):
            continue
        target = child_path(turn.state, path, edge.target)
        is_waited_for = tokens.put(place, child)
        if child not in turn.recalled:
            data: dict[str, Json] = {"from": child, "to": target, "why": "always" if edge.when is True else edge.when}
            if not is_waited_for:
                data["dropped"] = "the join went on without it"
            turn.record.publish("edge.taken", child, data)


def settle(turn: Turn, path: str) -> None:
    """Run every node whose join is met; end the graph when no token can move any more."""
    frame = turn.frame(path)
    if frame.mesh is None:
        return  # decided earlier in this turn
    tokens = Tokens(turn.plan.nets[frame.node], frame.mesh)
    moved = True
    while moved:
        moved = False
        for node in tokens.turns():
            runs = tokens.goes(node)
            if runs is not None:
                moved = True
                _skip_withered(turn, path, tokens)
                _move(turn, path, tokens, node, runs=runs)
                if frame.stopping:
                    return
        ring = None if moved else tokens.ring()
        if ring is not None:
            moved = True
            _skip_withered(turn, path, tokens)
            _move(turn, path, tokens, ring, runs=tokens.net.joins[ring] == "all" or tokens.enough(ring))
            if frame.stopping:
                return
    _skip_withered(turn, path, tokens)
    if not tokens.anything_active:
        _end(turn, path, frame.mesh)


def _move(turn: Turn, path: str, tokens: Tokens, node: str, *, runs: bool) -> None:
    """Take the tokens and run the node; or fail the graph, when the node's join can no longer be met."""
    mesh = tokens.mesh
    step = turn.plan.nodes[node].step
    visits = mesh.visits.get(node, 0)
    if not runs:
        turn.halt(path, RunError(type="join_unmet", message=tokens.unmet(node)))
        return
    if visits >= step.max_visits:
        message = f"The node {node!r} was reached more than max_visits, {step.max_visits} times."
        turn.halt(path, RunError(type="limit_exceeded", message=message))
        return
    if step.join != "all":
        tokens.owe(node)
    before = tokens.take(node)
    base = child_path(turn.state, path, node)
    if visits:
        turn.state.visits[base] = visits
    mesh.visits[node] = visits + 1
    place = f"{node}@{visits}" if visits else node
    mesh.running[node] = child_path(turn.state, path, place)
    turn.reach(path, node, place=place, before=before)


def _skip_withered(turn: Turn, path: str, tokens: Tokens) -> None:
    mesh = tokens.mesh
    withered, mesh.withered = sorted(mesh.withered, key=tokens.net.order.__getitem__), []
    for node in withered:
        if node in mesh.visits:
            continue
        place = child_path(turn.state, path, node)
        step, held = turn.plan.nodes[node], turn.state.steps.get(place)
        if held is not None and held.status == "skipped":
            continue  # recorded, and published then
        if held is None:
            turn.state.steps[place] = StepRun(id=place, kind=step.kind, name=step.step.name, agent=step.agent)
        turn.record.skip_step(place, "no edge was taken to it, and none can be any more")
        list_held(turn, place, node)


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
