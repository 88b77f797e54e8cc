"""What one execution of a run hands to the next when its history has grown long."""

from studio.contracts.base import Timestamp, Wire
from studio.contracts.events import NewEvent
from studio.engine.state import RunAgent, RunChild, RunState


class Carried(Wire):
    state: RunState
    calls: list[RunAgent | RunChild] = []
    """Asked for and not begun, in their order."""
    events: list[NewEvent] = []
    """Not yet published."""
    started_at: Timestamp
