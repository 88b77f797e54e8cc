"""The pure core: `advance(plan, state, event) → (state, commands)`.

No I/O, no clock, no randomness: the same plan, state and event always give the same answer, which is what lets a run
be replayed, carried on and tested without a server. `docs/design/engine.md` says what each pattern means.
"""

from datetime import datetime
from typing import assert_never, cast

from studio.contracts.base import Json
from studio.contracts.runs import RunError
from studio.contracts.steps import (
    ApprovalStep,
    ConditionalBlock,
    GraphBlock,
    HierarchicalBlock,
    LoopBlock,
    ParallelBlock,
    Route,
    SequentialBlock,
    WaitStep,
)
from studio.engine import chains, ending, fans, graphs, parking, pauses, teams, unreached, waits
from studio.engine.frames import Frame
from studio.engine.limits import TOO_MUCH
from studio.engine.patterns import Patterns
from studio.engine.plan import ROOT, Plan
from studio.engine.scope import UnusableError
from studio.engine.state import (
    ApprovalDecided,
    CancelRequested,
    Command,
    CoreEvent,
    LimitsChanged,
    OuterLimitsChanged,
    Pause,
    PauseRequested,
    Request,
    ResumeRequested,
    RunAgent,
    RunStarted,
    RunState,
    SignalReceived,
    StepCancelled,
    StepEnded,
    StepFailed,
    StepResolved,
    StepSucceeded,
    Ticked,
    TimerFired,
)
from studio.engine.turn import Turn
from studio.errors import FieldError
from studio.schemas.meter import Meter


def advance(plan: Plan, state: RunState, event: CoreEvent) -> tuple[RunState, list[Command]]:
    """Fold one event into the state. An event for a step that is not running changes nothing: it came too late."""
    if state.ended:
        return state, []
    turn = Turn(plan, state, event.at, _PATTERNS)
    turn.run(_take, event)
    return turn.record.state, turn.record.commands


def _take(turn: Turn, event: CoreEvent) -> None:
    match event:
        case RunStarted():
            _start(turn)
        case StepSucceeded() | StepFailed() | StepCancelled():
            if turn.is_call(event.path):
                _call_over(turn, event)
        case TimerFired():
            waits.fired(turn, event.id)
        case Ticked():
            pass  # what is left to do is done after every event
        case _:
            _asked(turn, event)


def _asked(turn: Turn, event: Request) -> None:
    """What somebody outside wants of the run."""
    match event:
        case CancelRequested():
            if turn.state.phase == "running":
                turn.stop(ROOT)
        case SignalReceived():
            waits.signalled(turn, event)
        case ApprovalDecided():
            waits.decided(turn, event.path, event.decision)
        case StepResolved():
            parking.resolved(turn, event.path, event.resolution)
        case PauseRequested():
            pauses.pause(turn, Pause(reason="requested"))
        case ResumeRequested():
            pauses.resume(turn)
        case LimitsChanged():
            pauses.change_limits(turn, event.changes)
        case OuterLimitsChanged():
            turn.state.outer = event.outer
        case _:
            assert_never(event)


def _start(turn: Turn) -> None:
    retry = turn.state.retry
    if retry:
        turn.record.publish("run.retried", None, {"status": "running", "retry_count": retry}, retry + 1)
    else:
        turn.record.publish("run.started", None, {"status": "running"})
    turn.record.add_frame(ROOT, Frame(node=ROOT))
    turn.state.started_at = turn.at
    limits = turn.state.limits or turn.plan.definition.limits
    if limits is not None:
        pauses.keep_limits(turn, limits)
    try:
        _begin(turn, ROOT, None)
    except UnusableError as unusable:
        turn.fail(ROOT, unusable.error)


def _call_over(turn: Turn, event: StepEnded) -> None:
    frame = turn.frame(event.path)
    turn.record.count(event)
    fits = not event.inner or turn.keeps(event.inner)
    match event:
        case StepSucceeded() if not fits:
            turn.fail(event.path, RunError(type="payload_too_large", message=TOO_MUCH.message))
        case StepSucceeded():
            turn.succeed(event.path, event.output)
        case StepFailed() if pauses.ends_run(turn, event.path, event.error):
            turn.close(event.path, "failed", error=event.error)
        case StepFailed():
            turn.fail(event.path, event.error)
        case _ if frame.timed_out and not frame.cancelled and frame.error is not None:
            turn.fail(event.path, frame.error)
        case _:
            turn.close(event.path, "cancelled")


def _begin(turn: Turn, path: str, given: Json) -> None:
    node = turn.node(path)
    match node.body:
        case SequentialBlock():
            turn.follow(path, node.step.id)
        case ParallelBlock():
            fans.begin(turn, path, node.body)
        case ConditionalBlock():
            chains.begin_choice(turn, path, node.body)
        case GraphBlock():
            graphs.begin(turn, path, node.body)
        case HierarchicalBlock():
            teams.begin(turn, path, node.body)
        case LoopBlock():
            chains.begin_loop(turn, path)
        case None:
            waits.begin(turn, path, cast("WaitStep | ApprovalStep", node.step), given)


def _question(turn: Turn, path: str) -> RunAgent:
    parent = turn.state.frames[path].parent or ROOT
    body = turn.node(parent).body
    if isinstance(body, HierarchicalBlock):
        return teams.question(turn, path, parent, body)
    route = cast("Route", cast("ConditionalBlock", body).route)  # only a block with a route has a router
    return chains.router_question(turn, path, parent, route)


def _child_over(turn: Turn, path: str, child: str, node: str, uncaught: RunError | None) -> None:
    frame = turn.frame(path)
    if path == ROOT and turn.state.phase != "running":
        ending.child_over(turn, uncaught, child)
    elif frame.handling:
        chains.child_over(turn, path, child, uncaught)
    elif frame.fan is not None:
        fans.child_over(turn, path, child, uncaught)
    elif frame.mesh is not None:
        graphs.child_over(turn, path, child, node, uncaught)
    elif frame.team is not None:
        teams.child_over(turn, path, child, node, uncaught)
    elif frame.routing:
        chains.routed(turn, path, child, uncaught)
    else:
        chains.child_over(turn, path, child, uncaught)


_PATTERNS = Patterns(
    actions={
        "next": chains.go_on,
        "round": chains.begin_round,
        "fan": fans.go_on,
        "settle": graphs.settle,
        "plan": teams.begin_round,
        "delegate": teams.delegate,
        "start": Turn.start,
        "again": parking.begin_again,
        "stopped": Turn.stopped,
        "join over": fans.join_timed_out,
        "time over": waits.step_timed_out,
        "undo": ending.undo_next,
        "conclude": ending.conclude,
    },
    begin=_begin,
    question=_question,
    may_start=pauses.may_start,
    child_over=_child_over,
    settled=fans.settled,
    root_stopped=ending.root_stopped,
    end=ending.end,
    parks=parking.parks,
    unparked=parking.unparked,
    list_unreached=unreached.list_inside,
)


def answer_errors(
    plan: Plan, state: RunState, path: str, output: Json, at: datetime, meter: Meter | None = None
) -> list[FieldError]:
    """What keeps an output from being that of the parked step at `path`; `loc` is relative to the output."""
    return parking.answer_errors(Turn(plan, state, at, _PATTERNS), path, output, meter)
