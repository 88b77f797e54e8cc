"""Runs as the API offers them."""

import asyncio
from collections.abc import Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from api.runs.executions import Executions
from api.runs.launching import Launcher
from api.runs.mending import Mender
from api.runs.stalls import CANCEL_PATIENCE, Stalls
from api.runs.starting import RunStarter, Trigger
from studio.contracts.runs import FINAL_STATUSES, Run, RunKind, RunProgress, Stalled, StartRun, StepRun
from studio.db.engine import Database
from studio.db.tables import RunRow
from studio.errors import Conflict, DependencyUnavailable, NotFound
from studio.store.event_stream import EventStream, RetryNote
from studio.store.reading import shown
from studio.store.runs import RunFilter, get_run, list_replays, list_runs, to_run, unreadable_run

ASKED_AGAIN_SECONDS = 0.5


class RunService:
    def __init__(
        self,
        database: Database,
        executions: Executions,
        launcher: Launcher,
        mender: Mender,
        stalls: Stalls,
        stream: EventStream,
        *,
        ui_root: str | None,
    ) -> None:
        self._database = database
        self._executions = executions
        self._starter = RunStarter(database, launcher)
        self._mender = mender
        self._stalls = stalls
        self._stream = stream
        self._ui_root = ui_root

    async def start(
        self, kind: RunKind, ref: str, project_id: str, body: StartRun, trigger: Trigger, *, wait_seconds: float
    ) -> tuple[Run, bool]:
        """The run, and whether it has ended."""
        run_id = await self._starter.start(kind, ref, project_id, body, trigger)
        return await self.settled(run_id, wait_seconds)

    async def settled(self, run_id: str, wait_seconds: float) -> tuple[Run, bool]:
        """The run once it has ended, or after so long, and whether it has ended."""
        if wait_seconds > 0:
            await self._executions.wait(run_id, wait_seconds)
            run = await self.get(run_id)
        else:
            run = await self.read(run_id)
        return run, run.status in FINAL_STATUSES

    async def read(self, run_id: str) -> Run:
        """As its row says."""
        return to_run(await self._row(run_id), self._ui_root)

    async def list_runs(self, chosen: RunFilter, *, limit: int, before: str | None) -> Sequence[Run]:
        async with self._database.read() as session:
            rows = await list_runs(session, chosen, limit=limit, before=before)
        return [shown(row, lambda found: to_run(found, self._ui_root), unreadable_run) for row in rows]

    async def get(self, run_id: str) -> Run:
        """As it is now: a run that goes on is asked for its steps, and one that Temporal ended is brought in line."""
        async with self._database.read() as session:
            row = await self._found(session, run_id)
            replays = await list_replays(session, run_id)
        progress: RunProgress | None = None
        stalled: Stalled | None = None
        if row.status in FINAL_STATUSES:
            row = await self._mender.complete(row)
        elif row.status == "queued" and row.retry_count > 0:
            row, stalled = await self._looked(row)  # the execution before would answer, until there is a new one
        else:
            progress, (row, stalled) = await asyncio.gather(self._executions.progress(run_id), self._looked(row))
        if row.status in FINAL_STATUSES:
            run = to_run(row, self._ui_root)
        else:
            run = _with_retries(to_run(row, self._ui_root, progress), await self._stream.retries(run_id))
        return run.model_copy(update={"replays": list(replays), "stalled": stalled})

    async def cancel(self, run_id: str) -> Run:
        """Ask the run to stop; it ends when its steps have let go. One that is stalled is terminated after a moment."""
        row = await self._row(run_id)
        if row.status not in FINAL_STATUSES and not await self._executions.cancel(run_id):
            row = await self._refreshed(row)
            if row.status not in FINAL_STATUSES:
                raise DependencyUnavailable("temporal", f"Temporal does not know the run {run_id!r} yet.")
        if row.status in FINAL_STATUSES:
            raise has_ended(row)
        run = await self.get(run_id)
        deadline = asyncio.get_running_loop().time() + 2 * CANCEL_PATIENCE.total_seconds()
        while run.stalled is not None and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(ASKED_AGAIN_SECONDS)
            run = await self.get(run_id)
        return run

    async def terminate(self, run_id: str, actor: str) -> Run:
        """End the run and its child workflows now; the answer shows it ended."""
        row = await self._row(run_id)
        if row.status in FINAL_STATUSES:
            raise has_ended(row)
        ended = await self._executions.terminate(run_id, f"by {actor}, over the API")
        row = await self._refreshed(row)
        if row.status not in FINAL_STATUSES:
            raise DependencyUnavailable("temporal", f"Temporal does not know the run {run_id!r} yet.")
        if not ended or row.status != "terminated":
            raise has_ended(row)
        return to_run(row, self._ui_root)

    async def refreshed(self, run_id: str) -> Run:
        """The run brought in line with Temporal, without asking the worker for its steps."""
        return to_run(await self.refreshed_row(run_id), self._ui_root)

    async def refreshed_row(self, run_id: str) -> RunRow:
        return await self._refreshed(await self._row(run_id))

    async def _refreshed(self, row: RunRow) -> RunRow:
        return (await self._looked(row))[0]

    async def _looked(self, row: RunRow) -> tuple[RunRow, Stalled | None]:
        """The row in line with Temporal, and whether the run is stalled."""
        if row.status in FINAL_STATUSES:
            return row, None
        stalled: Stalled | None = None
        try:
            execution = await self._executions.find(row.id)
            if execution is not None and execution.end is None and execution.may_be_stalled:
                stalled, ended = await self._stalls.look(row.id)
                execution = await self._executions.find(row.id) if ended else execution
            changed = await self._mender.mend(row, execution)
        except DependencyUnavailable:
            return row, None  # the row is what there is to show while Temporal is away
        return await self._row(row.id) if changed else row, stalled

    async def _row(self, run_id: str) -> RunRow:
        async with self._database.read() as session:
            return await self._found(session, run_id)

    @staticmethod
    async def _found(session: AsyncSession, run_id: str) -> RunRow:
        row = await get_run(session, run_id)
        if row is None:
            raise NotFound(f"There is no run {run_id!r}.")
        return row


def _with_retries(run: Run, noted: Mapping[str, RetryNote]) -> Run:
    """The steps that are tried again say why and when: Temporal knows that, the run's workflow does not."""

    def told(step: StepRun) -> StepRun:
        note = noted.get(step.id)
        if note is None or step.status != "running" or note.attempt < step.attempt:
            return step
        return step.model_copy(update={"attempt": note.attempt, "retrying": note.data})

    return run.model_copy(update={"steps": [told(step) for step in run.steps]})


def has_ended(row: RunRow) -> Conflict:
    return Conflict(f"The run {row.id!r} has ended already: it is {row.status}.", extra={"run_status": row.status})
