"""The periodic clean-up, and the Temporal Schedule that asks for it."""

from datetime import datetime, timedelta

import structlog
from temporalio import activity
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
)
from temporalio.service import RPCError

from activities.cleaning import Cleaner
from activities.failures import as_application_error
from studio.contracts.activities import FailureDetails
from studio.contracts.base import utc_now
from studio.contracts.maintenance import CleanedUp, CleanUpRequest

EVERY = timedelta(hours=1)
MAINTENANCE = "studio-maintenance"
_log = structlog.get_logger(__name__)


def ended_before(days: int) -> datetime | None:
    """None when runs are kept for ever."""
    return utc_now() - timedelta(days=days) if days else None


class MaintenanceActivities:
    def __init__(self, cleaner: Cleaner, retention_days: int) -> None:
        self._cleaner = cleaner
        self._retention_days = retention_days

    @activity.defn(name="clean_up")
    async def clean_up(self, request: CleanUpRequest) -> CleanedUp:
        """Remove what has been kept long enough, in small batches. Raises `ApplicationError`; safe to repeat."""
        del request
        try:
            return await self._cleaner.clean(ended_before(self._retention_days), activity.heartbeat)
        except Exception as error:
            raise as_application_error(error, FailureDetails(attempt=activity.info().attempt)) from error


async def schedule_maintenance(client: Client, task_queue: str) -> None:
    """Once a task queue, whichever worker is the first; later ones find it there."""
    name = f"{MAINTENANCE}-{task_queue}"
    action = ScheduleActionStartWorkflow("MaintenanceWorkflow", id=name, task_queue=task_queue)
    schedule = Schedule(
        action=action,
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=EVERY)]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=EVERY),
    )
    try:
        await client.create_schedule(name, schedule)
    except ScheduleAlreadyRunningError:
        return
    except RPCError as error:  # runs go on without; the next worker tries again
        _log.warning("maintenance.not_scheduled", error=error.message)
