"""What an earlier execution left: its recorded steps, each at its place in the plan."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property

from studio.contracts.runs import BLOCK_KINDS, StepRun, StepStatus, block_of, is_inside
from studio.contracts.steps import Block
from studio.engine.plan import FINALLY, ROOT, Plan
from studio.engine.scope import own_place, plan_id

UNENDED: frozenset[StepStatus] = frozenset({"pending", "running", "waiting"})
_ROLE = re.compile(r"(?:router|manager|worker)\.")
_ROUND = re.compile(r"#(\d+)$")


class Recorded:
    """Steps inside child workflows are `inner`: they are in no place of this plan."""

    def __init__(self, plan: Plan, steps: Sequence[StepRun]) -> None:
        self.plan = plan
        self.runs = {step.id: step for step in steps}
        """In the order in which they were reached."""
        self.order = {path: place for place, path in enumerate(self.runs)}
        self.nodes: dict[str, str] = {}
        """By path, the id in the plan."""
        self.children: dict[str, list[str]] = {}
        """By the path around them, in the order in which they were reached."""
        self.inner: dict[str, str] = {}
        """By path, the workflow step whose child workflow it is in."""
        for path in self.runs:
            self._place(path)

    def _place(self, path: str) -> None:
        around = block_of(path)
        if around in self.inner:
            self.inner[path] = self.inner[around]
            return
        node = self.resolve(path)
        if node is not None:
            self.nodes[path] = node
            self.children.setdefault(around, []).append(path)
        elif around in self.nodes and self.plan.nodes[self.nodes[around]].kind == "workflow":
            self.inner[path] = around

    def resolve(self, path: str) -> str | None:
        """The plan's id of the step that a path, recorded or not, leads to; None when the plan has no such place."""
        if path in self.nodes:
            return self.nodes[path]
        around = block_of(path)
        holder = ROOT if around == ROOT else self.resolve(around)
        if holder is None:
            return None
        segment = path.rpartition("/")[2]
        if _ROLE.match(segment):
            role = segment.partition(".")[0] if not segment.startswith("worker.") else segment.rpartition("-")[0]
            found = f"{holder}.{role}"
            return found if found in self.plan.nodes else None
        found = plan_id(segment)
        node = self.plan.nodes.get(found)
        return found if node is not None and node.owner == holder else None

    # What a step is

    def node(self, path: str) -> str:
        """The plan's id of a step that is recorded, or around one that is."""
        return ROOT if path == ROOT else self.resolve(path) or path

    def body(self, path: str) -> Block | None:
        """What the step at a path holds; under the empty path the definition itself."""
        return self.plan.nodes[self.node(path)].body

    def is_block(self, path: str) -> bool:
        return self.runs[path].kind in BLOCK_KINDS

    def is_beside(self, path: str) -> bool:
        """Whether it catches errors of the step around it, or undoes it: not that step's own work."""
        return self.plan.nodes[self.node(path)].beside_rounds

    def is_of_the_end(self, path: str) -> bool:
        """Whether it belongs to `finally` or to what undoes a step."""
        at = path
        while at != ROOT:
            group = self.plan.nodes[self.node(at)].group
            if group == FINALLY or group.endswith("~"):
                return True
            at = block_of(at)
        return False

    def is_in_finally(self, path: str) -> bool:
        return any(self.plan.nodes[self.node(at)].group == FINALLY for at in (path, *self.around(path)))

    def round_of(self, path: str) -> int | None:
        """The round of the loop around it, if it is in one."""
        found = _ROUND.search(path.rpartition("/")[0])
        return int(found.group(1)) if found and not self.is_beside(path) else None

    def inside(self, path: str) -> list[str]:
        """All in the plan's places below it, from outside in."""
        found = list(self.children.get(path, ()))
        for at in found:  # grows meanwhile
            found += self.children.get(at, ())
        return found

    def around(self, path: str) -> Iterator[str]:
        """The steps around it, from inside out."""
        at = block_of(path)
        while at != ROOT:
            yield at
            at = block_of(at)

    def group(self, path: str) -> list[str]:
        """The steps of its chain, itself among them, or its siblings, as far as they were reached: those with the same
        holder, round and group."""
        around, own = block_of(path), self.plan.nodes[self.node(path)].group
        return self._groups.get((around, own, self.round_of(path)), [])

    @cached_property
    def _groups(self) -> dict[tuple[str, str, int | None], list[str]]:
        found: dict[tuple[str, str, int | None], list[str]] = {}
        for around, children in self.children.items():
            for path in children:
                group = self.plan.nodes[self.nodes[path]].group
                found.setdefault((around, group, self.round_of(path)), []).append(path)
        return found

    def before_in_chain(self, path: str) -> list[str]:
        """Those before it in its chain, the nearest first."""
        chain = self.group(path)
        return (chain[: chain.index(path)] if path in self.nodes else chain)[::-1]

    def after_in_chain(self, path: str) -> list[str]:
        chain = self.group(path)
        return chain[chain.index(path) + 1 :]

    def is_later(self, path: str, since: str) -> bool:
        """Whether a step began once the one at `since` was over. What has not ended led to nothing."""
        ended, began = self.runs[since].ended_at, self.runs[path].started_at
        if self.runs[since].status in UNENDED or self.order[path] < self.order[since]:
            return False
        return ended is None or began is None or began >= ended

    # What names mean

    @cached_property
    def by_node(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for path, node in self.nodes.items():
            found.setdefault(node, []).append(path)
        return found

    @cached_property
    def _last_rounds(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for around, children in self.children.items():
            rounds = [self.round_of(path) for path in children if self.runs[path].status != "pending"]
            known = [number for number in rounds if number is not None]
            if known:
                found[around] = max(known)
        return found

    @cached_property
    def _visits(self) -> dict[str, list[str]]:
        """Of a graph's node, by its first visit's path, all of them in their order."""
        found: dict[str, list[str]] = {}
        for path in self.nodes:
            found.setdefault(path.partition("@")[0] if "/" not in path else _first_visit(path), []).append(path)
        return found

    def located(self, step_id: str, seen_from: str, *, all_visits: bool = False) -> list[str]:
        """The recorded steps that a step's id can mean, seen from a path: as `scope.locate`, but for a graph's node the
        visit that was the latest then, or all of them.
        """
        own = own_place(seen_from, step_id)
        if own is not None:
            return [own] if own in self.runs else []
        node = self.plan.nodes[step_id]
        holders = [ROOT] if node.owner == ROOT else self.located(node.owner, seen_from, all_visits=all_visits)
        found: list[str] = []
        for holder in holders:
            place = holder
            if holder in self._last_rounds and not node.beside_rounds:
                within = (
                    _ROUND.search(seen_from[: seen_from.find("/", len(holder))]) if _is_in(seen_from, holder) else None
                )
                place = f"{holder}#{within.group(1) if within else self._last_rounds[holder]}"
            visits = self._visits.get(f"{place}/{step_id}" if place else step_id, [])
            found += visits if all_visits else self._latest(visits, seen_from)
        return found

    def _latest(self, visits: list[str], seen_from: str) -> list[str]:
        if len(visits) < 2 or seen_from not in self.order:
            return visits[-1:]
        place = bisect_right(visits, self.order[seen_from], key=self.order.__getitem__)
        seen = self.runs[seen_from].started_at
        while seen is not None and place < len(visits):  # reached later, and yet begun before this one was
            begun = self.runs[visits[place]].started_at
            if begun is None or begun > seen:
                break
            place += 1
        return visits[max(place - 1, 0) : place]


def _first_visit(path: str) -> str:
    head, _, last = path.rpartition("/")
    return f"{head}/{last.partition('@')[0]}"


def _is_in(path: str, holder: str) -> bool:
    return is_inside(path, holder) and path[len(holder)] == "#"
