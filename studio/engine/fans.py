"""Side by side: the branches of a parallel block, or one step for each item of a list."""

from typing import cast

from studio.contracts.base import Json
from studio.contracts.runs import RunError
from studio.contracts.steps import ParallelBlock
from studio.engine.frames import Fan, Frame
from studio.engine.joins import decide, needed_of
from studio.engine.recalls import is_gone_through
from studio.engine.scope import UnusableError, child_path
from studio.engine.turn import Turn
from studio.expressions import type_word

MAX_ITEMS = 10_000
"""Of one `for_each`."""


def begin(turn: Turn, path: str, block: ParallelBlock) -> None:
    """Raises `UnusableError`."""
    items = None
    if block.branches is None:
        items = turn.evaluate(path, block.for_each)
        if not isinstance(items, list):
            raise UnusableError("expression_error", f"`for_each` must give a list, not {type_word(items)}")
        if len(cast("list[Json]", items)) > MAX_ITEMS:
            message = f"`for_each` gave {len(cast('list[Json]', items))} items; a block takes at most {MAX_ITEMS}."
            raise UnusableError("limit_exceeded", message)
    held = cast("list[Json] | None", items)
    total = len(block.branches or []) if held is None else len(held)
    turn.frame(path).fan = Fan(items=held, total=total, needed=needed_of(block.join, total))
    if block.join_timeout is not None and not is_gone_through(turn, path):
        turn.record.set_timer("join", path, turn.at + block.join_timeout)
    turn.later("fan", path)


def go_on(turn: Turn, path: str) -> None:
    """Start what the window lets through; end the block when its join is met or cannot be."""
    frame = turn.frame(path)
    fan = frame.fan
    if fan is None:
        return  # a branch that ended earlier in this turn decided the block, and its error is being handled
    block = cast("ParallelBlock", turn.node(path).body)
    decided = decide(fan, block)
    if decided is not None:
        turn.halt(path, None if decided is True else decided)
        return
    ids = turn.plan.groups[frame.node]
    for _ in range(block.max_concurrency - len(frame.open)):  # a branch that ends at once makes room for no other here
        if fan.next == fan.total or frame.stopping:
            return
        index = fan.next
        fan.next += 1
        if fan.items is None:
            child = turn.reach(path, ids[index])
        else:
            scope = {"item": fan.items[index], "index": index}
            child = turn.reach(path, ids[0], place=f"{ids[0]}[{index}]", scope=scope)
        if turn.is_long:
            if child in frame.open:  # one that has ended asked for the next already
                turn.later("fan", path)
            return


def child_over(turn: Turn, path: str, child: str, uncaught: RunError | None) -> None:
    frame = turn.frame(path)
    fan = cast("Fan", frame.fan)
    fan.over += 1
    if uncaught is not None:
        fan.errors.append(uncaught)
    elif turn.state.steps[child].status in {"succeeded", "failed"}:
        fan.succeeded += 1
    turn.later("stopped" if frame.stopping else "fan", path)


def join_timed_out(turn: Turn, path: str) -> None:
    frame = turn.frame(path)
    if frame.fan is not None and not frame.stopping:
        frame.fan.timed_out = True
        turn.later("fan", path)


def settled(turn: Turn, path: str) -> None:
    """The join is met and all has ended."""
    frame = turn.frame(path)
    fan = cast("Fan", frame.fan)
    block = cast("ParallelBlock", turn.node(path).body)
    if block.on_branch_error == "collect" and path in turn.state.steps:
        held = turn.state.steps[path]
        turn.state.steps[path] = held.model_copy(update={"errors": list(fan.errors)})
    turn.succeed(path, _output(turn, path, frame, fan))


def _output(turn: Turn, path: str, frame: Frame, fan: Fan) -> Json:
    def of(place: str) -> Json:
        step = turn.state.steps.get(child_path(turn.state, path, place))
        return None if step is None else step.output

    ids = turn.plan.groups[frame.node]
    if fan.items is None:
        return {step_id: of(step_id) for step_id in ids}
    return [of(f"{ids[0]}[{index}]") for index in range(fan.total)]
