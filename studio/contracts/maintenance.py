"""What keeping house removes."""

from studio.contracts.base import Timestamp, Wire


class CleanUpRequest(Wire):
    """New fields get defaults."""


class CleanedUp(Wire):
    runs: int = 0
    """With their events, conversations, keys and approvals."""
    executions: int = 0
    """Temporal's histories, those of child workflows and earlier executions included."""
    blobs: int = 0
    ended_before: Timestamp | None = None
    """None: runs are kept for ever."""
