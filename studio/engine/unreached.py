"""Steps that never began: once the block that holds them is over they are recorded, and published, as `skipped`.

What expressions see of them does not depend on it: see `scope.is_out_of_reach`.
"""

from collections.abc import Iterable, Iterator

from studio.contracts.runs import StepRun
from studio.contracts.steps import Block, LoopBlock, ParallelBlock
from studio.engine.plan import FINALLY, ROOT, block_groups
from studio.engine.recalls import is_recalled
from studio.engine.state import RunState
from studio.engine.turn import Turn

MAX_LISTED = 2_000
"""Of one workflow's run, as many as a definition has steps: in maps and loops there may be far more."""
NOT_REACHED = "it was not reached"


def list_inside(turn: Turn, path: str) -> None:
    """The block at a path is over, or will not begin: list all inside it that never began."""
    body = turn.node(path).body
    if body is not None and (path == ROOT or not is_recalled(turn, path)):
        _list(turn, _inside(turn.state, path, turn.state.frames[path].node, body))


def list_finally(turn: Turn) -> None:
    """The run is over: list the steps of its `finally` that never began, and what a retry left."""
    _list(turn, [(step_id, step_id) for step_id in turn.plan.groups.get(FINALLY, ())])
    for path, step in list(turn.state.steps.items()):
        if step.status == "pending":
            turn.record.skip_step(path, NOT_REACHED)


def list_held(turn: Turn, path: str, step_id: str) -> None:
    """All inside a step that will not begin."""
    body = turn.plan.nodes[step_id].body
    if body is not None:
        _list(turn, _inside(turn.state, path, step_id, body))


def _list(turn: Turn, places: Iterable[tuple[str, str]]) -> None:
    """By path and step id. What inside a step that is listed began is none of this attempt's."""
    pending = list(places)[::-1] if turn.state.unreached < MAX_LISTED else []
    while pending and turn.state.unreached < MAX_LISTED:
        path, step_id = pending.pop()
        held, node = turn.state.steps.get(path), turn.plan.nodes[step_id]
        if path in turn.state.frames or (held is not None and held.status not in {"pending", "skipped"}):
            continue
        if held is None or held.status == "pending":
            if held is None:
                step = StepRun(id=path, kind=node.kind, name=node.step.name, agent=node.agent)
                turn.state.steps[path] = step
            turn.state.unreached += 1
            turn.spend(1)
            turn.record.skip_step(path, NOT_REACHED)
        if node.body is not None:
            pending += list(_inside(turn.state, path, step_id, node.body))[::-1]


def _inside(state: RunState, path: str, step_id: str, body: Block) -> Iterator[tuple[str, str]]:
    """By path and id, the steps that a block holds: in its last round, or its first; items as far as they are known."""
    prefix = f"{path}#{state.rounds.get(path, 0)}" if isinstance(body, LoopBlock) else path
    for group in block_groups(body, step_id):
        for step in group.steps:
            place = f"{prefix}/{step.id}" if prefix else step.id
            if isinstance(body, ParallelBlock) and body.do is not None:
                fan = state.frames[path].fan if path in state.frames else None
                yield from ((f"{place}[{index}]", step.id) for index in range(fan.total if fan else 0))
            else:
                yield place, step.id
