"""Keeps house: started by a Temporal Schedule, which lets no two run at once."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

from studio.contracts.maintenance import CleanedUp, CleanUpRequest

CLEAN_UP = "clean_up"


@workflow.defn
class MaintenanceWorkflow:
    @workflow.run
    async def run(self) -> CleanedUp:
        return await workflow.execute_activity(
            CLEAN_UP,
            CleanUpRequest(),
            result_type=CleanedUp,
            # A first clean-up of a hundred thousand runs takes minutes.
            start_to_close_timeout=timedelta(hours=6),
            # It beats after each batch of some hundred runs, which may wait for a busy database.
            heartbeat_timeout=timedelta(minutes=2),
            # Then the schedule's next time is soon enough.
            retry_policy=RetryPolicy(initial_interval=timedelta(seconds=10), maximum_attempts=3),
        )
