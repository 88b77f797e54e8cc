"""The connection to ClickHouse, or to chDB in this process."""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit

import clickhouse_connect
import structlog
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError

from prompt_service.settings import PromptSettings
from prompt_service.traces.schema import INSERT_SETTINGS, READ_SETTINGS
from studio.errors import DependencyUnavailable

DEPENDENCY = "clickhouse"
_CODE = re.compile(r"Code: (\d+)")
_ROW_FAULTS = frozenset({6, 27, 33, 38, 41, 53, 69, 70, 72, 131, 321, 349, 407})
"""ClickHouse's codes for values that cannot be read, converted or held; all others are about the server.
Source: src/Common/ErrorCodes.cpp.
"""
_NOT_MIGRATED = frozenset({16, 47, 60, 81})
"""No such column, identifier, table or database."""
SERVER_CONNECTIONS = 4
CONNECT_SECONDS = 2
QUERY_SECONDS = 30
_DEFAULT_PORTS = {"clickhouse": 8123, "http": 8123, "clickhouses": 8443, "https": 8443}
_log = structlog.get_logger(__name__)
ResultT = TypeVar("ResultT")


class RefusedRows(Exception):
    """Some row of an insert holds what its table cannot."""


class Insert(NamedTuple):
    """Rows for one table."""

    table: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


class TraceStore:
    """Runs the synchronous client on threads of its own: one for chDB, which knows only one; a few for a server.

    Connects when first used and again after a fault. Raises `DependencyUnavailable("clickhouse")` when the server does
    not answer or is not able to.
    """

    def __init__(self, settings: PromptSettings, *, database: str | None = None) -> None:
        self._url = settings.clickhouse_url
        self._embedded = settings.embedded_traces
        self._database = database
        self._client: Client | None = None
        threads = 1 if self._embedded else SERVER_CONNECTIONS
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="clickhouse")

    async def close(self) -> None:
        client = self._client
        if client is not None:
            await asyncio.get_running_loop().run_in_executor(self._threads, client.close)
        self._threads.shutdown(wait=True)

    async def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """The rows by column name; `parameters` fill `{name:Type}` on the server's side."""

        def run(client: Client) -> list[dict[str, Any]]:
            result = client.query(sql, parameters=dict(parameters or {}), settings=READ_SETTINGS)
            return [dict(zip(result.column_names, row, strict=True)) for row in result.result_rows]

        return await self._run(run)

    async def command(self, sql: str) -> None:
        await self._run(lambda client: client.command(sql))

    async def insert(self, inserts: Sequence[Insert]) -> None:
        """Write the tables one after the other, in one turn of a thread. Raises `RefusedRows`."""

        def run(client: Client) -> None:
            for insert in inserts:
                if insert.rows:
                    client.insert(insert.table, insert.rows, column_names=insert.columns, settings=INSERT_SETTINGS)

        try:
            await self._run(run)
        except (ValueError, TypeError, OverflowError, ArithmeticError) as error:
            raise RefusedRows(str(error)[:500]) from error

    async def _run(self, work: Callable[[Client], ResultT]) -> ResultT:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._attempt, work)

    def _attempt(self, work: Callable[[Client], ResultT]) -> ResultT:
        try:
            if self._client is None:
                self._client = self._connect()
            return work(self._client)
        except (OperationalError, OSError) as error:
            raise DependencyUnavailable(DEPENDENCY) from error
        except ClickHouseError as error:
            found = _CODE.search(str(error))
            code = int(found.group(1)) if found else None
            if code is None or code in _ROW_FAULTS:
                raise RefusedRows(str(error)[:500]) from error
            _log.error("clickhouse.failed", error=str(error)[:1000])
            if code in _NOT_MIGRATED:
                detail = "The trace store lacks a table or column; run `studio migrate`."
                raise DependencyUnavailable(DEPENDENCY, detail, retry_after=10) from error
            raise DependencyUnavailable(DEPENDENCY) from error

    def _connect(self) -> Client:
        if self._embedded:
            return clickhouse_connect.get_client(dsn=self._url)
        address = urlsplit(self._url)
        return clickhouse_connect.get_client(
            host=address.hostname or "127.0.0.1",
            port=address.port or _DEFAULT_PORTS[address.scheme],
            username=unquote(address.username) if address.username else None,
            password=unquote(address.password or ""),
            database=self._database or database_of(self._url),
            secure=address.scheme in {"clickhouses", "https"},
            connect_timeout=CONNECT_SECONDS,
            send_receive_timeout=QUERY_SECONDS,
            autogenerate_session_id=False,
            query_limit=0,
        )


def database_of(url: str) -> str:
    """The database that a server's URL names."""
    return urlsplit(url).path.strip("/") or "default"
