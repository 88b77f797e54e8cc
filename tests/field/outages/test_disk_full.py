"""A database whose disk is full: requests and readiness say so, and all goes on once there is space."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg.errors import DiskFull
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from studio.db.disk import DISK_FULL, is_disk_full
from studio.db.engine import Database
from studio.db.migrate import check_database, migrate_database
from studio.errors import DependencyUnavailable
from tests.api.conftest import open_live
from tests.support.databases import sqlite_database


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """4 MiB that the test may fill."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True)  # noqa: S607, PLW1510
    if mounted.returncode:
        pytest.skip("only root may mount a disk")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)  # noqa: S607


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return filler


class TestTheApi:
    async def test_says_that_the_disk_is_full_and_goes_on_when_it_is_not(
        self, small_disk: Path, tmp_path: Path, temporal_address: str, redis_url: str
    ) -> None:
        url = sqlite_database(small_disk)
        async with open_live(tmp_path, temporal_address, redis_url, url, worker=False) as live:
            await live.workflow({"id": "s", "transform": 1})
            (await live.api.get("//health/ready")).ok(200)
            filler = fill(small_disk)

            ready = (await live.api.get("//health/ready")).ok(503)
            assert ready["down"] == ["database"]
            (found,) = (one for one in ready["dependencies"] if one["name"] == "database")
            assert found["detail"] == DISK_FULL
            body = {"name": "large", "pattern": "sequential", "steps": [{"id": "s", "transform": "x" * 200_000}]}
            with capture_logs() as logs:
                problem = (await live.api.post("/workflows", body)).problem(503, "dependency-unavailable")
            assert problem["dependency"] == "database"
            assert problem["detail"].startswith(DISK_FULL)
            assert [one["error"] for one in logs if one["event"] == "database.disk_full"]

            filler.unlink()
            (await live.api.get("//health/ready")).ok(200)
            (await live.api.post("/workflows", body)).ok(201)


class TestTheDatabase:
    async def test_the_error_of_sqlite_is_known(self, tmp_path: Path) -> None:
        """SQLite's own limit of pages gives the error of a full disk, with space on the real one."""
        database = Database(sqlite_database(tmp_path))
        try:
            await migrate_database(database)
            async with database.write() as session:
                await session.execute(text("PRAGMA max_page_count = 1"))
                with pytest.raises(OperationalError) as caught:
                    await session.execute(text("CREATE TABLE filler AS SELECT zeroblob(100000)"))
            assert is_disk_full(caught.value)
        finally:
            await database.close()

    async def test_is_not_ready_after_a_failed_write_until_a_write_succeeds(self, tmp_path: Path) -> None:
        database = Database(sqlite_database(tmp_path))
        is_full = True

        def refuse(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
            if is_full and statement.startswith(("UPDATE", "DELETE")):
                raise OperationalError(statement, {}, DiskFull())

        try:
            await migrate_database(database)
            event.listen(database.engine.sync_engine, "before_cursor_execute", refuse)
            await check_database(database)  # nobody has written
            with pytest.raises(OperationalError):
                async with database.write() as session:
                    await session.execute(text("DELETE FROM runs"))
            for _ in range(2):
                with pytest.raises(DependencyUnavailable) as caught:
                    await check_database(database)
                assert caught.value.detail == DISK_FULL
            is_full = False
            await check_database(database)
        finally:
            await database.close()

    @pytest.mark.parametrize("error", [OperationalError("x", {}, Exception()), OSError(28, "No space"), None])
    def test_another_fault_is_not_taken_for_it(self, error: Exception | None) -> None:
        assert not is_disk_full(error)

    def test_postgresql_says_it_in_its_own_way(self) -> None:
        assert is_disk_full(OperationalError("INSERT", {}, DiskFull()))
