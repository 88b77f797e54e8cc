"""Schedules: runs that start by themselves, by the calendar or at an interval."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Discriminator, Field, StringConstraints, Tag, model_validator
from pydantic_core import PydanticCustomError

from studio.contracts.agents import Ref
from studio.contracts.base import Contract, Json, Name, Timestamp, WallTime, Wire, to_utc
from studio.contracts.cron import Cron
from studio.contracts.durations import Duration
from studio.contracts.runs import MAX_METADATA, Metadata, RunError, RunKind, RunStatus, ShortText

Overlap = Literal["skip", "buffer_one", "buffer_all", "cancel_other", "terminate_other", "allow_all"]
SCHEDULED_AT = "scheduled_at"
"""The key in a scheduled run's metadata of the moment that it is for, which a late or backfilled run starts after."""
_SECOND = timedelta(seconds=1)
MIN_CATCHUP = timedelta(seconds=10)
"""Temporal's own least."""


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("no time zone of the IANA database: write one like Europe/Berlin or UTC") from None
    return name


Timezone = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_known_zone)]


def _cron_tag(value: Any) -> str:
    return "<crons>" if isinstance(value, list) else "<cron>"


Crons = Annotated[
    Annotated[Cron, Tag("<cron>")] | Annotated[list[Cron], Field(min_length=1, max_length=20), Tag("<crons>")],
    Discriminator(_cron_tag),
]
"""One, or several of which each counts."""


class ScheduleDefinition(Contract):
    """What is run (`workflow` or `agent`), with what, and when (`cron` or `interval`)."""

    kind: Literal["schedule"] = "schedule"
    name: Name
    project_id: Name = "default"
    description: str = ""
    workflow: Ref | None = None
    agent: Ref | None = None
    run_version: Annotated[int, Field(ge=1)] | None = None
    """The version of the workflow or agent to run; default the newest at each firing."""
    input: Json = None
    session_id: ShortText | None = None
    user_id: ShortText | None = None
    metadata: Annotated[Metadata, Field(max_length=MAX_METADATA - 1)] = {}
    """Of each run, which gets `scheduled_at` beside it."""
    cron: Crons | None = None
    timezone: Timezone | None = None
    """What `cron` is read in, and `start_at` and `end_at` without an offset; default UTC. A local time that the clock
    jumps over is left out that day; one that comes twice runs the first time, and both times where a wildcard or a
    step names the hour.
    """
    interval: Duration | None = None
    """From the Unix epoch on, so `15m` means at :00, :15, :30 and :45; whole seconds."""
    offset: Duration | None = None
    """How long after each interval's beginning."""
    jitter: Duration | None = None
    """Each start is put off by a random time up to this."""
    start_at: WallTime | None = None
    """Without an offset it is in `timezone`, and so is `end_at`."""
    end_at: WallTime | None = None
    overlap: Overlap = "skip"
    """When the run before has not ended: Temporal's policies."""
    catchup_window: Duration = timedelta(hours=1)
    """Starts that were missed while Temporal was away are made up for when they are not older than this."""
    paused: bool = False
    """How it begins. A write that changes this pauses or resumes it; other writes leave that as it is."""
    pause_on_failure: bool = False

    @property
    def target(self) -> tuple[RunKind, str]:
        """Kind and reference of what it runs."""
        return ("workflow", self.workflow) if self.workflow is not None else ("agent", self.agent or "")

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone or "UTC")

    @property
    def crons(self) -> list[str]:
        return [self.cron] if isinstance(self.cron, str) else self.cron or []

    @model_validator(mode="after")
    def _one_target_and_one_clock(self) -> "ScheduleDefinition":
        _exactly_one("workflow", self.workflow, "agent", self.agent, "say what to run")
        _exactly_one("cron", self.cron, "interval", self.interval, "say when to run")
        return self

    @model_validator(mode="after")
    def _window_in_utc(self) -> "ScheduleDefinition":
        if self.start_at is not None:
            self.start_at = moment_in(self.zone, self.start_at)
        if self.end_at is not None:
            self.end_at = moment_in(self.zone, self.end_at)
        return self

    @model_validator(mode="after")
    def _times_fit(self) -> "ScheduleDefinition":
        reads_clock = self.cron is not None or self.start_at is not None or self.end_at is not None
        _refuse_if(
            self.timezone is not None and not reads_clock, "timezone", "`timezone` goes with `cron` or a window only"
        )
        _refuse_if(self.offset is not None and self.interval is None, "offset", "`offset` goes with `interval` only")
        for field, value in (("interval", self.interval), ("offset", self.offset)):
            _refuse_if(value is not None and bool(value % _SECOND), field, f"`{field}` is counted in whole seconds")
        late = self.interval is not None and self.offset is not None and self.offset >= self.interval
        _refuse_if(late, "offset", "`offset` must be shorter than `interval`")
        wide = self.interval is not None and self.jitter is not None and self.jitter >= self.interval
        _refuse_if(wide, "jitter", "`jitter` must be shorter than `interval`, or starts pass each other")
        _refuse_if(self.catchup_window < MIN_CATCHUP, "catchup_window", "`catchup_window` must be at least 10s")
        over = self.start_at is not None and self.end_at is not None and self.end_at <= self.start_at
        _refuse_if(over, "end_at", "`end_at` must be after `start_at`")
        _refuse_if(SCHEDULED_AT in self.metadata, "metadata", f"`{SCHEDULED_AT}` is set for each run")
        return self


def moment_in(zone: ZoneInfo, time: datetime) -> datetime:
    """In UTC; a time without an offset is local to the zone, the first of two when the clock repeats it."""
    return to_utc(time if time.tzinfo is not None else time.replace(tzinfo=zone))


def _exactly_one(first: str, one: object, second: str, other: object, why: str) -> None:
    _refuse_if(one is not None and other is not None, second, f"give `{first}` or `{second}`, not both")
    if one is None and other is None:
        raise PydanticCustomError("missing_choice", "{problem}", {"problem": f"{why}: give `{first}` or `{second}`"})


def _refuse_if(wrong: bool, at: str, problem: str) -> None:
    if wrong:
        raise PydanticCustomError("schedule", "{problem}", {"problem": problem, "at": at})


class ScheduledRun(Wire):
    """A run that the schedule started, or could not start: then it has failed, and says why."""

    run_id: str
    status: RunStatus
    scheduled_at: Timestamp | None
    """The moment that it is for."""
    started_at: Timestamp
    """When the schedule fired."""
    error: RunError | None = None


class ScheduleState(Wire):
    """What Temporal says of a schedule."""

    paused: bool
    note: str | None = None
    next_runs: list[Timestamp] = []
    fired: int = 0
    skipped: int = 0
    missed: int = 0


class StoredSchedule(ScheduleDefinition, Wire):
    """A schedule with what the store adds, and how it is doing. `version` counts its changes from 1, `paused` is as it
    is now. What Temporal knows is null while it does not answer; `paused` is then what the document says.
    """

    id: str
    version: int
    created_at: Timestamp
    updated_at: Timestamp
    note: str | None = None
    """Why it is paused, or by whom it was resumed."""
    next_runs: list[Timestamp] | None = None
    """The next moments, jitter included; of one that is paused those that it would run at. None when it is over."""
    fired: int | None = None
    """How often it started a run, by the clock, triggered or filled in."""
    skipped: int | None = None
    """How often it did not, since the run before had not ended."""
    missed: int | None = None
    """How often it did not, since Temporal was away for longer than the catch-up window."""
    recent: list[ScheduledRun] = []
    """The newest runs first; `GET /runs?schedule=` has all of them. In a list of schedules it is empty."""


class ScheduleVersion(ScheduleDefinition, Wire):
    """A schedule as it was. `created_at` is when this version was written, `actor` by whom."""

    id: str
    version: int
    created_at: Timestamp
    actor: str


class TriggerSchedule(Contract):
    """Body of `POST /schedules/{ref}/trigger`."""

    overlap: Overlap | None = None
    """Instead of the schedule's own."""


MAX_NOTE_BYTES = 1000
"""Temporal's limit."""


def _fits_temporal(note: str) -> str:
    if len(note.encode()) > MAX_NOTE_BYTES:
        raise ValueError(f"may be at most {MAX_NOTE_BYTES} bytes long in UTF-8")
    return note


Note = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NOTE_BYTES), AfterValidator(_fits_temporal)]


class PauseSchedule(Contract):
    """Body of `POST /schedules/{ref}/pause` and `/resume`."""

    note: Note | None = None
    """Why; default who did it."""


class BackfillSchedule(Contract):
    """Body of `POST /schedules/{ref}/backfill`: run for every moment from `start_at` up to `end_at`, both included."""

    start_at: WallTime
    """Without an offset it is in the schedule's time zone, and so is `end_at`."""
    end_at: WallTime
    overlap: Overlap = "buffer_all"
    """One after the other, unless it says otherwise; the schedule's own policy is not asked."""


class TriggeredSchedule(StoredSchedule):
    """Answer of `POST /schedules/{ref}/trigger`."""

    run_id: str | None = None
    """The run that was started. Null while it waits for another to end; it is in `recent` then as soon as it starts."""
    waits_for: str | None = None
    """The run that has to end first."""


class FireRequest(Wire):
    """Argument of the workflow that a schedule starts at each moment."""

    schedule_id: str
    version: int
    """Of the schedule, when it was written to Temporal; shows whether Temporal has the newest."""
    calendar: str | None = None
    """A digest of the calendars that were made of its crons; null where Temporal reads them itself."""
