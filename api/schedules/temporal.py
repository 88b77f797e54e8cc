"""Schedules on the Temporal side. Temporal's schedule has our schedule's id; what it starts reads the rest from SQL.

Every fault of the connection becomes a 503 that names Temporal.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import uuid4

from temporalio.api.common.v1 import Payload
from temporalio.api.schedule.v1 import ScheduleInfo
from temporalio.api.workflowservice.v1 import ListScheduleMatchingTimesRequest, PatchScheduleRequest
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleCalendarSpec,
    ScheduleHandle,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.client import ScheduleState as TemporalState
from temporalio.service import RPCError, RPCStatusCode

from api.runs.executions import CALL, temporal_faults
from api.schedules.calendars import changes_its_clock, covered_years, utc_calendars
from studio.contracts.base import utc_now
from studio.contracts.plain import PlainText
from studio.contracts.schedules import BackfillSchedule, FireRequest, Overlap, ScheduleDefinition, ScheduleState
from studio.db.tables import DefinitionRow
from studio.errors import DependencyUnavailable
from studio.executions import project_attribute
from workflows.names import scheduled_run_id
from workflows.scheduled import ScheduledRunWorkflow

_OVERLAPS: dict[Overlap, ScheduleOverlapPolicy] = {
    "skip": ScheduleOverlapPolicy.SKIP,
    "buffer_one": ScheduleOverlapPolicy.BUFFER_ONE,
    "buffer_all": ScheduleOverlapPolicy.BUFFER_ALL,
    "cancel_other": ScheduleOverlapPolicy.CANCEL_OTHER,
    "terminate_other": ScheduleOverlapPolicy.TERMINATE_OTHER,
    "allow_all": ScheduleOverlapPolicy.ALLOW_ALL,
}


TRIGGER_POLL_SECONDS = 0.03


class NotOnTemporal(Exception):
    """Temporal has no such schedule, though the store has."""


class NotTriggered(Exception):
    """The overlap policy does not let it start; `running` is the run that has not ended, where that is known."""

    def __init__(self, running: str | None) -> None:
        super().__init__(running)
        self.running = running


@dataclass(frozen=True)
class Triggered:
    """The run that a trigger started, or that which has to end first."""

    run_id: str | None = None
    waits_for: str | None = None


@dataclass(frozen=True)
class Trigger:
    """One that Temporal has taken, with the schedule as it was before."""

    schedule_id: str
    workflow_id: str
    before: ScheduleInfo


@asynccontextmanager
async def _asking() -> AsyncGenerator[None]:
    """One call. Raises `NotOnTemporal`, and `DependencyUnavailable`.

    The SDK would repeat attempts that fail for ten seconds, and a write keeps its row locked meanwhile.
    """
    try:
        with temporal_faults():
            async with asyncio.timeout(CALL.total_seconds()):
                yield
    except TimeoutError as error:
        raise DependencyUnavailable("temporal") from error
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            raise NotOnTemporal from error
        raise


class TemporalSchedules:
    def __init__(self, client: Client, task_queue: str) -> None:
        self._client = client
        self._task_queue = task_queue

    async def put(self, row: DefinitionRow, *, paused: bool | None = None) -> None:
        """Make Temporal's schedule what the row says, whether there is one or not; repeating it changes nothing.

        `paused` None leaves that as it is; a schedule that is new to Temporal then begins as its document says.
        """
        definition = ScheduleDefinition.model_validate(row.document)

        def change(found: ScheduleUpdateInput) -> ScheduleUpdate:
            state = found.description.schedule.state
            if paused is not None and paused != state.paused:
                state = TemporalState(paused=paused)
            return ScheduleUpdate(self._schedule(row, definition, state))

        try:
            await self._update(row.id, change)
        except NotOnTemporal:
            state = TemporalState(paused=definition.paused if paused is None else paused)
            try:
                async with _asking():
                    schedule = self._schedule(row, definition, state)
                    await self._client.create_schedule(row.id, schedule)
            except ScheduleAlreadyRunningError:  # somebody else has written it meanwhile
                await self._update(row.id, change)

    async def _update(self, schedule_id: str, change: Callable[[ScheduleUpdateInput], ScheduleUpdate]) -> None:
        async with _asking():
            await self._handle(schedule_id).update(change)

    def _schedule(self, row: DefinitionRow, definition: ScheduleDefinition, state: TemporalState) -> Schedule:
        action = ScheduleActionStartWorkflow(
            ScheduledRunWorkflow.run,
            fire_request(row, definition),
            id=row.id,
            task_queue=self._task_queue,
            static_summary=PlainText(f"schedule {row.name}"),
            typed_search_attributes=project_attribute(row.project_id),
        )
        policy = SchedulePolicy(
            overlap=_OVERLAPS[definition.overlap],
            catchup_window=definition.catchup_window,
            pause_on_failure=definition.pause_on_failure,
        )
        return Schedule(action=action, spec=_spec(definition), policy=policy, state=state)

    async def describe(self, schedule_id: str) -> tuple[ScheduleState, FireRequest | None]:
        """How it is doing, and what Temporal starts; None for what cannot be read. Raises `NotOnTemporal`."""
        async with _asking():
            found = await self._handle(schedule_id).describe()
        info, state = found.info, found.schedule.state
        shown = ScheduleState(
            paused=state.paused,
            note=state.note or None,
            next_runs=list(info.next_action_times),
            fired=info.num_actions,
            skipped=info.num_actions_skipped_overlap,
            missed=info.num_actions_missed_catchup_window,
        )
        action = cast("ScheduleActionStartWorkflow", found.schedule.action)
        try:
            [request] = await self._client.data_converter.decode(cast("list[Payload]", action.args), [FireRequest])
        except Exception:  # noqa: BLE001 - encrypted with a key that is gone, or of a form that is: to be written again
            return shown, None
        return shown, request

    async def delete(self, schedule_id: str) -> None:
        """Runs that it started go on."""
        try:
            async with _asking():
                await self._handle(schedule_id).delete()
        except NotOnTemporal:
            pass

    async def trigger(self, schedule_id: str, overlap: Overlap | None, key: str | None) -> Trigger:
        """Start its run now. Temporal takes the same key once, until the overlap policy lets a trigger start nothing.

        Temporal names what it starts by the second, and one name runs once at a time. So a trigger is for the second
        after the newest when both would be in the same; callers hold the schedule's lock.
        """
        async with _asking():
            before = (await self._handle(schedule_id).describe()).raw_description.info
        newest = max((action.schedule_time.ToDatetime(UTC) for action in before.recent_actions), default=None)
        moment = utc_now().replace(microsecond=0)
        if newest is not None and newest.replace(microsecond=0) >= moment:
            moment = newest.replace(microsecond=0) + timedelta(seconds=1)
        request = PatchScheduleRequest(
            namespace=self._client.namespace,
            schedule_id=schedule_id,
            identity=self._client.identity,
            request_id=str(uuid4()) if key is None else f"{key}-{before.overlap_skipped}",
        )
        # Without a policy the schedule's own counts.
        policy = 0 if overlap is None else int(_OVERLAPS[overlap])
        request.patch.trigger_immediately.overlap_policy = cast("Any", policy)
        request.patch.trigger_immediately.scheduled_time.FromDatetime(moment)
        async with _asking():
            await self._client.workflow_service.patch_schedule(request)
        return Trigger(schedule_id, f"{schedule_id}-{moment:%Y-%m-%dT%H:%M:%SZ}", before)

    async def triggered(self, trigger: Trigger, seconds: float) -> Triggered:
        """What became of it, as far as it can be seen within so long; Temporal takes about 50 ms.

        Raises `NotTriggered`.
        """
        running: str | None = None
        deadline = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < deadline:
            started = await self._run_of(trigger.workflow_id)
            if started is not None:
                return Triggered(run_id=started)
            async with _asking():
                info = (await self._handle(trigger.schedule_id).describe()).raw_description.info
            if info.running_workflows:
                running = await self._run_of(info.running_workflows[-1].workflow_id)
            if info.overlap_skipped > trigger.before.overlap_skipped:
                raise NotTriggered(running)
            if info.buffer_size > trigger.before.buffer_size and running is not None:
                return Triggered(waits_for=running)
            await asyncio.sleep(TRIGGER_POLL_SECONDS)
        return Triggered(waits_for=running)

    async def _run_of(self, workflow_id: str) -> str | None:
        """The run that a workflow of a schedule starts."""
        try:
            async with _asking():
                async for event in self._client.get_workflow_handle(workflow_id).fetch_history_events(page_size=1):
                    execution = event.workflow_execution_started_event_attributes.first_execution_run_id
                    return scheduled_run_id(event.event_time.ToDatetime(UTC), execution)
        except NotOnTemporal:
            pass
        return None

    async def pause(self, schedule_id: str, note: str) -> None:
        async with _asking():
            await self._handle(schedule_id).pause(note=note)

    async def resume(self, schedule_id: str, note: str) -> None:
        async with _asking():
            await self._handle(schedule_id).unpause(note=note)

    async def matches(self, schedule_id: str, start_at: datetime, end_at: datetime) -> int:
        """How many moments of the schedule are from `start_at` up to `end_at`; at most 1,000 are counted."""
        request = ListScheduleMatchingTimesRequest(namespace=self._client.namespace, schedule_id=schedule_id)
        request.start_time.FromDatetime(start_at)
        request.end_time.FromDatetime(end_at)
        async with _asking():
            found = await self._client.workflow_service.list_schedule_matching_times(request)
        return len(found.start_time)

    async def backfill(self, schedule_id: str, window: BackfillSchedule, request_id: str) -> None:
        """Temporal takes requests of one id once."""
        request = PatchScheduleRequest(
            namespace=self._client.namespace,
            schedule_id=schedule_id,
            identity=self._client.identity,
            request_id=request_id,
        )
        filled = request.patch.backfill_request.add(overlap_policy=cast("Any", int(_OVERLAPS[window.overlap])))
        # Temporal leaves out the moment at which a window begins.
        filled.start_time.FromDatetime(window.start_at - timedelta(milliseconds=1))
        filled.end_time.FromDatetime(window.end_at)
        async with _asking():
            await self._client.workflow_service.patch_schedule(request)

    def _handle(self, schedule_id: str) -> ScheduleHandle:
        return self._client.get_schedule_handle(schedule_id)


def fire_request(row: DefinitionRow, definition: ScheduleDefinition) -> FireRequest:
    """What Temporal starts for the schedule as it is stored; it differs when Temporal has to be written to again."""
    calendars = _calendars(definition)
    digest = None if calendars is None else hashlib.sha256(repr(calendars).encode()).hexdigest()[:16]
    return FireRequest(schedule_id=row.id, version=row.version, calendar=digest)


def backfill_limit(definition: ScheduleDefinition) -> datetime | None:
    """How far back Temporal knows its moments; None for as far as one likes."""
    if _calendars(definition) is None:
        return None
    return datetime(covered_years(utc_now(), definition.start_at)[0], 1, 1, tzinfo=definition.zone)


def _calendars(definition: ScheduleDefinition) -> tuple[ScheduleCalendarSpec, ...] | None:
    """None when Temporal reads the crons, or the interval, as we do."""
    years = covered_years(utc_now(), definition.start_at)
    if definition.timezone is None or not definition.crons or not changes_its_clock(definition.timezone, years):
        return None
    return utc_calendars(tuple(definition.crons), definition.timezone, years)


def _spec(definition: ScheduleDefinition) -> ScheduleSpec:
    every = definition.interval
    calendars = _calendars(definition)
    return ScheduleSpec(
        calendars=calendars or (),
        cron_expressions=[] if calendars is not None else definition.crons,
        intervals=[] if every is None else [ScheduleIntervalSpec(every=every, offset=definition.offset)],
        start_at=definition.start_at,
        end_at=definition.end_at,
        jitter=definition.jitter,
        time_zone_name=None if calendars is not None or not definition.crons else definition.timezone,
    )
