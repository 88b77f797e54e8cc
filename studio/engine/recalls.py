"""A run that goes on: what an earlier execution left is recalled rather than done again.

The run begins at its beginning and goes through its blocks. A step whose recorded end counts does not start; its end is
recalled once the turn's other work is done, the earliest recorded end first, so that joins, windows and cycles come to
the same decisions as then. Steps that do run again are held back until there is nothing more to recall.
"""

from collections.abc import Mapping
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from studio.contracts.base import Json
from studio.contracts.runs import BLOCK_KINDS, Resumption, RunError, RunStatus, StepRun, StepStatus, block_of, is_inside
from studio.contracts.steps import ParallelBlock
from studio.engine.limits import held_bytes
from studio.engine.remembered import Remembered
from studio.engine.scope import plan_id
from studio.engine.state import RunState

if TYPE_CHECKING:
    from studio.engine.turn import Turn

PAUSES_A_RETRY = 1_000
"""Pauses are told by their number: those of each retry begin at a thousand more."""


def resumed(state: RunState, resume: Resumption | None, retry: int) -> RunState:
    """A new state with what an earlier execution left. `retry` says how often the run was retried before."""
    state = state.model_copy(update={"retry": retry, "pauses": retry * PAUSES_A_RETRY})
    if resume is None:
        return state
    steps = {step.id: step for step in resume.steps}
    holding = {block_of(path) for path in steps}
    places = {path: place for place, path in enumerate(resume.kept) if path in steps}
    blocks = {path: at for path, at in places.items() if steps[path].kind in BLOCK_KINDS and path in holding}
    ends = {path: at for path, at in places.items() if path not in blocks}
    remembered = Remembered(ends=ends, blocks=blocks, stopped=_stopped(steps, ends), inputs=resume.inputs)
    left: dict[str, Any] = {
        "steps": steps,
        "output_bytes": held_bytes(step.output for step in resume.steps),
        "usage": resume.usage,
        "cost_usd": resume.cost_usd,
        "limits": resume.limits,
        "signals": resume.signals,
        "heard": resume.heard,
        "remembered": remembered,
    }
    return state.model_copy(update=left)


def _stopped(steps: Mapping[str, StepRun], ends: Mapping[str, int]) -> dict[str, bool]:
    """Cancelled steps, and what a block that was cancelled reached last: it would have led to something more."""
    last = {block_of(path): path for path in steps}
    found = {path: True for path in ends if steps[path].status == "cancelled"}
    for around, path in last.items():
        if path in ends and around in steps and steps[around].status == "cancelled":
            found[path] = True
    return found


def has_more(state: RunState) -> bool:
    """Whether there is something to do though no event comes."""
    if state.work:
        return True
    held = state.remembered
    return held is not None and (bool(held.due) or (bool(state.held) and state.paused is None))


# What becomes of a step that is reached


def takes(turn: "Turn", path: str) -> bool:
    """Whether the step that was just reached is recalled, or a block that is only gone through."""
    held = turn.state.remembered
    if held is None:
        return False
    if path in held.blocks:
        turn.start(path)
        return True
    if path not in held.ends:
        return False
    step = turn.state.steps[path]
    if step.kind not in BLOCK_KINDS:
        turn.state.calls += 1
    if step.kind in {"transform", "fail"}:  # it had ended as soon as it was reached
        _recall(turn, path)
    elif path in held.stopped:
        turn.state.held.append(path)
    else:
        heappush(held.due, (held.ends[path], path))
    return True


def holds_back(turn: "Turn", path: str) -> bool:
    """Whether a step that is to run must wait, since there may be more to recall."""
    held = turn.state.remembered
    if held is None or turn.state.phase != "running" or turn.state.steps[path].kind in BLOCK_KINDS:
        return False
    if not held.ends and not turn.state.held:
        return False
    turn.state.held.append(path)
    return True


def starts_anew(turn: "Turn", path: str) -> None:
    """A step that was stopped then, and that nothing stops now, runs after all."""
    held = turn.state.remembered
    if held is None or held.ends.pop(path, None) is None:
        return
    step = turn.state.steps[path]
    anew = StepRun(id=path, kind=step.kind, name=step.name, agent=step.agent, attempt=step.attempt + 1)
    turn.state.steps[path] = anew.model_copy(update={"usage": step.usage, "cost_usd": step.cost_usd})
    at: str | None = path
    while at is not None:
        held.blocks.pop(at, None)
        at = turn.state.frames[at].parent


def is_gone_through(turn: "Turn", path: str) -> bool:
    """Whether the step at a path is a block in which nothing runs again."""
    return turn.state.remembered is not None and path in turn.state.remembered.blocks


def is_recalled(turn: "Turn", path: str) -> bool:
    """Whether the end of the step at a path is the recorded one."""
    return is_gone_through(turn, path) or (turn.state.remembered is not None and path in turn.state.remembered.ends)


def recorded_error(turn: "Turn", path: str, error: RunError) -> RunError:
    """What a block that failed then, and in which nothing runs again, fails with."""
    known = turn.state.steps[path].error if is_gone_through(turn, path) else None
    return known or error


def given_input(state: RunState, path: str) -> list[Json]:
    """What a step gets instead of what its definition says, alone in the list; empty when nothing is."""
    if state.remembered is None:
        return []
    inputs = state.remembered.inputs
    return [inputs[name] for name in (path, path.rpartition("/")[2], plan_id(path)) if name in inputs][:1]


# What becomes of it then


def go_on(turn: "Turn") -> bool:
    """Recall the next end, or let those begin that were held back. False when there is neither."""
    held = turn.state.remembered
    if held is None:
        return False
    while held.due:
        _, path = heappop(held.due)
        frame = turn.state.frames.get(path)
        if path in held.ends and frame is not None and not frame.handling:
            _recall(turn, path)
            return True
    if not turn.state.held or turn.state.paused is not None or turn.state.phase != "running":
        return False
    if not _time_is_over(turn, held):
        waiting, turn.state.held = turn.state.held, []
        for path in waiting:
            if path in held.ends and turn.state.steps[path].status != "cancelled":
                heappush(held.due, (held.ends[path], path))
            else:
                turn.later("start", path)
    return True


def _recall(turn: "Turn", path: str) -> None:
    step = turn.state.steps[path]
    match step.status:
        case "succeeded":
            turn.close(path, "succeeded", output=step.output)
        case "failed":
            turn.fail(path, step.error or RunError(type="internal_error", message="The step failed."))
        case "skipped":
            ends_as_then(turn, path, "skipped", None, None, handled=False)
            turn.leave(path)
        case _:
            turn.close(path, "cancelled")


def _time_is_over(turn: "Turn", held: Remembered) -> bool:
    """What is held back inside a block that is only gone through did not go on then, since a time was over."""
    frames = turn.state.frames
    stuck: dict[str, str] = {}
    for path in turn.state.held:
        at = frames[path].parent if path in frames else None
        while at:
            timer = _timer_of(turn, at) if at in held.blocks else None
            if timer is not None:
                stuck[at] = timer
            at = frames[at].parent
    if not stuck:
        return False
    first = min(stuck, key=held.blocks.__getitem__)
    turn.later(stuck[first], first)
    return True


def _timer_of(turn: "Turn", block: str) -> str | None:
    """Which of a block's times was over, if one was."""
    frame, step, node = turn.state.frames[block], turn.state.steps[block], turn.node(block)
    if frame.stopping or frame.handling:
        return None
    own = step.error is not None and step.error.type == "timeout" and step.error.step_id == block
    body = node.body
    if isinstance(body, ParallelBlock) and body.join_timeout is not None and frame.fan and not frame.fan.timed_out:
        return "join over" if own or step.status == "succeeded" else None
    return "time over" if own and node.step.timeout is not None else None


def stops(turn: "Turn", path: str) -> bool:
    """Whether the step that is told to stop is one to recall: its recorded end comes in its turn."""
    held = turn.state.remembered
    if held is None or path not in held.ends or turn.state.frames[path].handling:
        return False
    if path in held.stopped:
        heappush(held.due, (held.ends[path], path))
    return True


def ends_as_then(
    turn: "Turn",
    path: str,
    status: RunStatus | StepStatus,
    output: Json,
    error: RunError | None,
    *,
    handled: bool,
) -> bool:
    """Whether the step ends as it is recorded: then there is nothing to write down, and nobody to be told."""
    held = turn.state.remembered
    if held is None or (held.ends.pop(path, None) is None and held.blocks.pop(path, None) is None):
        return False
    step = turn.state.steps[path]
    if (step.status, step.handled, step.error, step.output) == (status, handled, error, output):
        turn.recalled.add(path)
        return True
    turn.state.steps[path] = step.model_copy(update={"attempt": step.attempt + 1})
    return False


def forget_inside(turn: "Turn", path: str) -> None:
    """All inside the step is done anew."""
    held = turn.state.remembered
    if held is not None:
        for places in (held.ends, held.blocks):
            for inside in [found for found in places if is_inside(found, path)]:
                del places[inside]
