"""Schedules on the Temporal side. Temporal's schedule has our schedule's id; what it starts reads the rest from SQL.

Every fault of the connection becomes a 503 that names Temporal.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import cast

from temporalio.api.common.v1 import Payload
from temporalio.api.workflowservice.v1 import ListScheduleMatchingTimesRequest
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleBackfill,
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
from studio.contracts.plain import PlainText
from studio.contracts.schedules import BackfillSchedule, FireRequest, Overlap, ScheduleDefinition, ScheduleState
from studio.db.tables import DefinitionRow
from studio.errors import DependencyUnavailable
from studio.executions import project_attribute
from workflows.scheduled import ScheduledRunWorkflow

_OVERLAPS: dict[Overlap, ScheduleOverlapPolicy] = {
    "skip": ScheduleOverlapPolicy.SKIP,
    "buffer_one": ScheduleOverlapPolicy.BUFFER_ONE,
    "buffer_all": ScheduleOverlapPolicy.BUFFER_ALL,
    "cancel_other": ScheduleOverlapPolicy.CANCEL_OTHER,
    "terminate_other": ScheduleOverlapPolicy.TERMINATE_OTHER,
    "allow_all": ScheduleOverlapPolicy.ALLOW_ALL,
}


class NotOnTemporal(Exception):
    """Temporal has no such schedule, though the store has."""


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
            except ScheduleAlreadyRunningError:  # somebody else mended it meanwhile
                await self._update(row.id, change)

    async def _update(self, schedule_id: str, change: Callable[[ScheduleUpdateInput], ScheduleUpdate]) -> None:
        async with _asking():
            await self._handle(schedule_id).update(change)

    def _schedule(self, row: DefinitionRow, definition: ScheduleDefinition, state: TemporalState) -> Schedule:
        action = ScheduleActionStartWorkflow(
            ScheduledRunWorkflow.run,
            FireRequest(schedule_id=row.id, version=row.version),
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

    async def describe(self, schedule_id: str) -> tuple[ScheduleState, int]:
        """How it is doing, and the version that Temporal was told of; 0 for one that cannot be read.

        Raises `NotOnTemporal`.
        """
        async with _asking():
            found = await self._handle(schedule_id).describe()
        info, state = found.info, found.schedule.state
        shown = ScheduleState(
            paused=state.paused,
            note=state.note or None,
            next_runs=[] if state.paused else list(info.next_action_times),
            fired=info.num_actions,
            skipped=info.num_actions_skipped_overlap,
            missed=info.num_actions_missed_catchup_window,
        )
        action = cast("ScheduleActionStartWorkflow", found.schedule.action)
        try:
            [told] = await self._client.data_converter.decode(cast("list[Payload]", action.args), [FireRequest])
        except Exception:  # noqa: BLE001 - encrypted with a key that is gone, or of a form that is: to be written anew
            return shown, 0
        return shown, told.version

    async def delete(self, schedule_id: str) -> None:
        """Runs that it started go on."""
        try:
            async with _asking():
                await self._handle(schedule_id).delete()
        except NotOnTemporal:
            pass

    async def trigger(self, schedule_id: str, overlap: Overlap | None) -> None:
        async with _asking():
            policy = None if overlap is None else _OVERLAPS[overlap]
            await self._handle(schedule_id).trigger(overlap=policy)

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

    async def backfill(self, schedule_id: str, window: BackfillSchedule) -> None:
        # Temporal leaves out the moment at which a window begins.
        start_at = window.start_at - timedelta(milliseconds=1)
        filled = ScheduleBackfill(start_at=start_at, end_at=window.end_at, overlap=_OVERLAPS[window.overlap])
        async with _asking():
            await self._handle(schedule_id).backfill(filled)

    def _handle(self, schedule_id: str) -> ScheduleHandle:
        return self._client.get_schedule_handle(schedule_id)


def _spec(definition: ScheduleDefinition) -> ScheduleSpec:
    every = definition.interval
    return ScheduleSpec(
        cron_expressions=definition.crons,
        intervals=[] if every is None else [ScheduleIntervalSpec(every=every, offset=definition.offset)],
        start_at=definition.start_at,
        end_at=definition.end_at,
        jitter=definition.jitter,
        time_zone_name=definition.timezone,
    )
