"""Which run an activity works for: its workflow's id says so, and the run's row says the rest."""

from collections import OrderedDict

from studio.contracts.runs import RunContext
from studio.db.engine import Database
from studio.errors import StudioError
from studio.store.runs import context_of, get_run

KEPT_RUNS = 10_000
"""Five times as many as a worker keeps in its workflow cache by default; half a kilobyte each."""


class RunGone(StudioError):
    """The run is not in the database, or has ended there: nothing may be done for it."""


class RunContexts:
    """What labels a run's work. Read once for each execution, in which it never changes: calls need not carry it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: OrderedDict[tuple[str, str], RunContext] = OrderedDict()
        """The one used longest ago first."""

    async def get(self, run_id: str, execution: str) -> RunContext:
        """`execution` is the Temporal run id of the workflow that asks: a retry is another one, and has another
        `retry`. Raises `RunGone` when there is no such run.
        """
        key = (run_id, execution)
        found = self._known.get(key)
        if found is not None:
            self._known.move_to_end(key)
            return found
        async with self._database.read() as session:
            row = await get_run(session, run_id)
        if row is None:
            raise RunGone(f"There is no run {run_id!r}.")
        found = context_of(row)
        self._known[key] = found
        if len(self._known) > KEPT_RUNS:
            self._known.popitem(last=False)
        return found
