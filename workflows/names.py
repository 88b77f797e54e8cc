"""What a run's workflow is called on Temporal, and what it answers to: shared by those who start it and talk to it."""

import hashlib
from datetime import datetime

from studio.contracts.ids import IdPrefix, id_at

PROGRESS = "progress"
"""A query; answered with a `RunProgress`."""
RESERVED = "studio_"
"""Signals that begin so steer the run; all others are for its steps."""
PAUSE, RESUME = "studio_pause", "studio_resume"
"""Signals without an argument."""
CHILD = "studio_child"
"""A signal from a child workflow; its argument is a `ChildStatus`."""
LIMITS = "studio_limits"
"""A signal; its argument is a `Limits` of which only the fields that are set change."""
OUTER_LIMITS = "studio_outer_limits"
"""A signal to a child workflow; its argument is the list of its `OuterLimits`."""
DECIDE = "decide_approval"
"""An update from `DecideRequest` to `ApprovalOutcome`."""
RESOLVE = "resolve_step"
"""An update from `ResolveRequest` to the `StepRun` as it is then."""


def scheduled_run_id(started_at: datetime, execution: str) -> str:
    """Of the run that a schedule's workflow starts; `execution` is the first Temporal run id of that workflow.

    Whoever sees the workflow knows the run before a worker has taken it up.
    """
    return id_at(IdPrefix.RUN, started_at, hashlib.sha256(execution.encode()).digest()[:10])


def child_workflow_id(run_id: str, path: str) -> str:
    """Of the child workflow that carries out the step at `path` of the run."""
    return f"{run_id}/{path}"
