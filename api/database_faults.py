"""What the database does wrong, as problems: away, overloaded or full is 503, a schema that is missing says so."""

import structlog
from fastapi import FastAPI, Request
from psycopg.errors import UndefinedColumn, UndefinedTable
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.responses import Response

from studio.db.disk import DISK_FULL, is_disk_full
from studio.errors import DependencyUnavailable
from studio.web.problems import problem_response

_log = structlog.get_logger(__name__)
_NO_SCHEMA = "The database has no tables yet, or old ones. Run `studio migrate`."


FAULTS = (OperationalError, InterfaceError, ProgrammingError, PoolTimeout)


def database_problem(error: Exception) -> DependencyUnavailable | None:
    """None when it is a fault of ours."""
    original = error.orig if isinstance(error, DBAPIError) else None
    missing = isinstance(original, UndefinedTable | UndefinedColumn) or "no such table" in str(original)
    if isinstance(error, ProgrammingError) and not missing:
        return None
    if is_disk_full(error):
        _log.warning("database.disk_full", error=str(original))
        return DependencyUnavailable("database", f"{DISK_FULL} The request was not carried out.")
    _log.warning("database.fault", error=type(original or error).__name__)
    return DependencyUnavailable("database", _NO_SCHEMA if missing else None)


async def _render(_request: Request, error: Exception) -> Response:
    problem = database_problem(error)
    if problem is None:
        raise error
    return problem_response(problem)


def add_database_handlers(app: FastAPI) -> None:
    for fault in FAULTS:
        app.add_exception_handler(fault, _render)
