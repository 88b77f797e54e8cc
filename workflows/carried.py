"""What an execution of a run begins with: what the one before handed on when its history had grown long, or nothing."""

from studio.contracts.base import JsonObject, Timestamp, Wire
from studio.contracts.events import NewEvent
from studio.contracts.runs import RunRequest
from studio.engine.recalls import resumed
from studio.engine.state import RunAgent, RunChild, RunFacts, RunState


class Carried(Wire):
    state: JsonObject
    """A `RunState`, written out: payloads hold only the fields that were assigned, and the core also fills lists."""
    calls: list[RunAgent | RunChild] = []
    """Asked for and not begun, in their order."""
    events: list[NewEvent] = []
    """Not yet published."""
    started_at: Timestamp


def new_state(request: RunRequest) -> RunState:
    """What a run, or a child workflow, begins with when no execution handed anything on."""
    context = request.context
    facts = RunFacts(
        id=context.run_id, session_id=context.session_id, user_id=context.user_id, metadata=request.metadata
    )
    before = request.parent.attempts_before if request.parent is not None else 0
    new = RunState(run=facts, input=request.input, attempts_before=before, outer=request.outer)
    return resumed(new, request.resume, context.retry)
