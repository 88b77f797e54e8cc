"""Timeouts and retries of every activity, each number with its reason."""

from dataclasses import dataclass
from datetime import timedelta

from temporalio.common import RetryPolicy

from studio.contracts import agents


@dataclass(frozen=True)
class CallPolicy:
    start_to_close: timedelta
    heartbeat: timedelta | None = None


LLM_CALL = CallPolicy(
    # A reasoning model may think for minutes; the LLM engine's own deadlines end a call that is stuck sooner.
    start_to_close=timedelta(minutes=15),
    # The activity beats every second: ten mean that its worker is gone, and another one takes over.
    heartbeat=timedelta(seconds=10),
)
# Rendering stops by itself after 250 ms; the rest is the way to the prompt engine and to SQL.
RENDER_PROMPT = CallPolicy(start_to_close=timedelta(seconds=30))
# One SQL transaction and one command to Redis.
RECORD_END = CallPolicy(start_to_close=timedelta(seconds=20))
# The end of a run is written however long the database is away.
RECORD_END_RETRY = RetryPolicy(
    initial_interval=timedelta(milliseconds=200), backoff_coefficient=2, maximum_interval=timedelta(seconds=10)
)
# Local attempts for as long as a workflow task may take by itself; then the wait becomes a timer in the history.
RECORD_END_LOCAL = timedelta(seconds=5)


# Half a minute in all: Temporal closes a child within a second, unless it is overloaded.
CHILD_CLOSING = (0.1, 0.2, 0.5, 1, 2, 5, 10, 10)


# What the server calls an attempt that ran out of time.
_SERVER_NAMES = {"timeout": ("TemporalTimeout:StartToClose", "TemporalTimeout:Heartbeat")}


def retry_policy(retry: agents.RetryPolicy | None) -> RetryPolicy:
    """A step's `retry` in Temporal's terms.

    The default, ten attempts over about two and a half minutes, outlasts the restart of a dependency.
    """
    retry = retry or agents.RetryPolicy()
    return RetryPolicy(
        initial_interval=retry.initial_interval,
        backoff_coefficient=retry.backoff,
        maximum_interval=max(retry.max_interval, retry.initial_interval),
        maximum_attempts=retry.max_attempts,
        non_retryable_error_types=[name for kind in retry.non_retryable for name in _SERVER_NAMES.get(kind, (kind,))]
        or None,
    )
