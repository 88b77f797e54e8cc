"""What follows a step in the flow of control, as far as it was recorded."""

from collections.abc import Iterator

from studio.contracts.runs import block_of
from studio.contracts.steps import ConditionalBlock, GraphBlock, HierarchicalBlock, LoopBlock, ParallelBlock
from studio.engine.plan import ROOT, Net
from studio.engine.recorded import Recorded


class Afterwards:
    """Gives every step only once: who asks has dealt with those given before."""

    def __init__(self, recorded: Recorded) -> None:
        self._recorded = recorded
        self._rounds: dict[str, dict[int, list[str]]] = {}
        """Of a loop, by number, the steps of each round that was not given yet."""
        self._visits: dict[tuple[str, str], list[str]] = {}
        """Of a graph's node, the visits that were not given yet, the latest last."""
        self._teams: dict[str, int] = {}
        """Of a team, how many of its calls were not given yet."""
        self._reachable: dict[tuple[str, str], list[str]] = {}

    def because_of(self, path: str) -> Iterator[tuple[str, str]]:
        """What the block around it did since this step ended as it did, each with the reason."""
        recorded, around = self._recorded, block_of(path)
        if recorded.is_beside(path):
            return
        match recorded.body(around):
            case LoopBlock():
                for later in self._later_rounds(around, recorded.round_of(path) or 0):
                    yield later, f"a round of {around} before it runs again"
            case GraphBlock():
                yield from self.reached(around, recorded.nodes[path], path, own=False)
            case HierarchicalBlock():
                for later in self._later_in_team(around, path):
                    yield later, f"{path}, before it in the team, runs again"
            case ConditionalBlock() if recorded.nodes[path].endswith(".router"):
                for chosen in recorded.children[around]:
                    if chosen != path and not recorded.is_beside(chosen):
                        yield chosen, f"{path}, which chose it, runs again"
            case _:
                pass

    def all_of(self, path: str) -> Iterator[str]:
        """All that comes after it, also after the blocks around it; not what runs beside it."""
        recorded, at = self._recorded, path
        while at != ROOT:
            if not isinstance(recorded.body(block_of(at)), ParallelBlock | GraphBlock) or recorded.is_beside(at):
                yield from recorded.after_in_chain(at)
            yield from (later for later, _ in self.because_of(at))
            at = block_of(at)

    def reached(self, graph: str, node: str, since: str, *, own: bool) -> Iterator[tuple[str, str]]:
        """The visits that edges from a node may have led to once the step at `since` had ended; with `own` the node's
        own visits, too.
        """
        recorded = self._recorded
        for target in self._reachable_from(graph, node) + ([node] if own else []):
            visits = self._visits.get((graph, target))
            if visits is None:
                visits = [path for path in recorded.children[graph] if recorded.nodes[path] == target]
                self._visits[graph, target] = visits
            while visits and recorded.is_later(visits[-1], since):
                yield visits.pop(), f"an edge leads to it from {since}, which runs again"

    def _reachable_from(self, graph: str, node: str) -> list[str]:
        found = self._reachable.get((graph, node))
        if found is None:
            net = self._recorded.plan.nets[self._recorded.node(graph)]
            found = self._reachable[graph, node] = _reachable(net, node)
        return found

    def _later_rounds(self, loop: str, number: int) -> Iterator[str]:
        rounds = self._rounds.get(loop)
        if rounds is None:
            rounds = self._rounds[loop] = {}
            for path in self._recorded.children[loop]:
                of = self._recorded.round_of(path)
                if of is not None:
                    rounds.setdefault(of, []).append(path)
        for later in sorted((of for of in rounds if of > number), reverse=True):
            yield from rounds.pop(later)

    def _later_in_team(self, team: str, path: str) -> list[str]:
        """After a manager's answer all, after a worker's report the rounds that follow."""
        nodes, members = self._recorded.nodes, self._recorded.children[team]
        end = self._teams.get(team, len(members))
        start = members.index(path, 0, end) + 1 if path in members[:end] else end
        if not nodes[path].endswith(".manager"):
            while start < end and not nodes[members[start]].endswith(".manager"):
                start += 1
        self._teams[team] = start
        return members[start:end]


def _reachable(net: Net, node: str) -> list[str]:
    found: dict[str, None] = {}
    pending = [node]
    while pending:
        for place in net.out[pending.pop()]:
            target = net.edges[place].target
            if target not in found:
                found[target] = None
                pending.append(target)
    return list(found)
