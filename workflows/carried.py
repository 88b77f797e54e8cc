"""What one execution of a run hands to the next when its history has grown long."""

from studio.contracts.base import JsonObject, Timestamp, Wire
from studio.contracts.events import NewEvent
from studio.engine.state import RunAgent, RunChild


class Carried(Wire):
    state: JsonObject
    """A `RunState`, written out: payloads hold only the fields that were assigned, and the core also fills lists."""
    calls: list[RunAgent | RunChild] = []
    """Asked for and not begun, in their order."""
    events: list[NewEvent] = []
    """Not yet published."""
    started_at: Timestamp
