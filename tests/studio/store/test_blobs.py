"""One suite over every place where blobs can be kept."""

import asyncio
import os
from collections.abc import AsyncGenerator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import pytest
from sqlalchemy import func, select, update

from studio.blob_url import parse_blob_url
from studio.contracts.base import utc_now
from studio.db.engine import Database
from studio.db.migrate import migrate_database
from studio.db.tables import BlobRow, BlobUseRow, StrayObjectRow
from studio.errors import DependencyUnavailable, NotFound
from studio.store.blob_s3 import S3Objects
from studio.store.blobs import BlobStore
from tests.support.databases import postgres_database, sqlite_database
from tests.support.object_store import emptied, new_bucket, object_names
from tests.support.ports import free_port


@pytest.fixture(params=["sqlite", "postgres", "s3"])
def place(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def database(place: str, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Database]:
    postgres = place == "postgres"
    url = postgres_database(request.getfixturevalue("postgres_url")) if postgres else sqlite_database(tmp_path)
    database = Database(url)
    try:
        await migrate_database(database)
        yield database
    finally:
        await database.close()


@pytest.fixture
async def store(place: str, database: Database, request: pytest.FixtureRequest) -> BlobStore:
    if place != "s3":
        return BlobStore(database)
    return BlobStore(database, S3Objects(parse_blob_url(await new_bucket(request.getfixturevalue("s3_endpoint")))))


async def age(database: Database) -> None:
    """Everything was stored two hours ago."""
    async with database.write() as session:
        for table in (BlobRow, StrayObjectRow):
            await session.execute(update(table).values(created_at=utc_now() - timedelta(hours=2)))


async def counts(database: Database) -> tuple[int, int]:
    """Blobs and uses."""
    async with database.read() as session:
        blobs = await session.scalar(select(func.count()).select_from(BlobRow))
        uses = await session.scalar(select(func.count()).select_from(BlobUseRow))
    return blobs or 0, uses or 0


class TestPut:
    async def test_what_goes_in_comes_out_once(self, store: BlobStore, database: Database) -> None:
        data = os.urandom(300_000)
        assert {await store.put(data, f"run_{n}") for n in range(3)} == {await store.put(data, "run_1")}
        assert await store.get(await store.put(data, "run_1")) == data
        assert await counts(database) == (1, 3)

    async def test_many_at_once_store_one(self, store: BlobStore, database: Database) -> None:
        data = os.urandom(100_000)
        digests = await asyncio.gather(*(store.put(data, f"run_{n % 5}") for n in range(20)))
        assert await store.get(digests[0]) == data
        assert await counts(database) == (1, 5)

    async def test_what_is_not_there_is_named(self, store: BlobStore) -> None:
        with pytest.raises(NotFound, match="'f00d'"):
            await store.get("f00d")


class TestRelease:
    async def test_what_another_run_uses_stays(self, store: BlobStore, database: Database) -> None:
        shared, own = await store.put(b"shared" * 20_000, "run_a"), await store.put(b"own" * 40_000, "run_a")
        await store.put(b"shared" * 20_000, "run_b")
        await age(database)
        assert await store.release(["run_a"]) == 1
        assert await store.get(shared) == b"shared" * 20_000
        with pytest.raises(NotFound):
            await store.get(own)
        assert await store.release(["run_b"]) == 1
        assert await counts(database) == (0, 0)

    async def test_what_is_recent_stays_for_a_later_time(self, store: BlobStore, database: Database) -> None:
        await store.put(b"x" * 100_000, "run_a")
        assert await store.release(["run_a"]) == 0
        assert await counts(database) == (1, 1)
        await age(database)
        assert await store.release(["run_a"]) == 1
        assert await counts(database) == (0, 0)

    async def test_what_belongs_to_no_run_stays(self, store: BlobStore, database: Database) -> None:
        await store.put(b"x" * 100_000)
        await age(database)
        assert await store.release(["run_a"]) == 0
        assert await counts(database) == (1, 1)

    async def test_a_put_at_the_same_time_wins(self, store: BlobStore, database: Database) -> None:
        """Whoever has been told a digest finds its bytes, whatever was removed meanwhile."""
        for number in range(12):
            data = bytes([number]) * 70_000
            await store.put(data, f"run_old{number}")
            await age(database)
            digest, _ = await asyncio.gather(store.put(data, f"run_new{number}"), store.release([f"run_old{number}"]))
            assert await store.get(digest) == data


class Stopped(Exception):
    pass


class Stopping(S3Objects):
    """Its process ends behind a `put`, or before a `delete`."""

    stops: str | None = None

    async def put(self, name: str, data: bytes) -> None:
        await super().put(name, data)
        if self.stops == "put":
            raise Stopped

    async def delete(self, names: Sequence[str]) -> None:
        if self.stops == "delete":
            raise Stopped
        await super().delete(names)


class TestObjects:
    @pytest.fixture
    def place(self) -> str:
        return "s3"

    @pytest.fixture
    async def url(self, s3_endpoint: str) -> str:
        return await new_bucket(s3_endpoint)

    async def test_bytes_are_in_the_bucket_and_go_with_the_blob(
        self, s3_endpoint: str, url: str, database: Database
    ) -> None:
        store = BlobStore(database, S3Objects(parse_blob_url(url)))
        inline = await BlobStore(database).put(b"before" * 20_000, "run_a")
        digest = await store.put(b"x" * 1_000_000, "run_a")
        (name,) = await object_names(s3_endpoint, url)
        assert name.startswith(f"payloads/{digest}")
        assert await store.get(inline) == b"before" * 20_000
        with pytest.raises(DependencyUnavailable, match="Set it to where that was"):
            await BlobStore(database).get(digest)
        await age(database)
        assert await store.release(["run_a"]) == 2
        assert await object_names(s3_endpoint, url) == []

    async def test_an_object_that_somebody_removed_can_be_stored_again(
        self, s3_endpoint: str, url: str, database: Database
    ) -> None:
        store = BlobStore(database, S3Objects(parse_blob_url(url)))
        digest = await store.put(b"x" * 100_000, "run_a")
        await emptied(s3_endpoint, url)
        with pytest.raises(NotFound, match=digest):
            await store.get(digest)
        assert await store.get(await store.put(b"x" * 100_000, "run_a")) == b"x" * 100_000

    async def test_what_a_process_left_that_was_stopped_in_the_middle_is_swept(
        self, s3_endpoint: str, url: str, database: Database
    ) -> None:
        objects = Stopping(parse_blob_url(url))
        store = BlobStore(database, objects)
        await store.put(b"kept" * 20_000, "run_kept")
        await store.put(b"old" * 20_000, "run_old")
        await age(database)
        objects.stops = "put"
        with pytest.raises(Stopped):
            await store.put(b"x" * 100_000, "run_a")
        objects.stops = "delete"
        with pytest.raises(Stopped):
            await store.release(["run_old"])
        objects.stops = None
        assert (await store.sweep(lambda: None), len(await object_names(s3_endpoint, url))) == (0, 3)
        await age(database)
        assert await store.sweep(lambda: None) == 2
        (left,) = await object_names(s3_endpoint, url)
        assert await store.get(left.removeprefix("payloads/").partition(".")[0]) == b"kept" * 20_000
        assert await store.sweep(lambda: None) == 0

    async def test_what_took_so_long_that_it_may_be_swept_is_stored_again(
        self, s3_endpoint: str, url: str, database: Database
    ) -> None:
        class Slow(S3Objects):
            names: ClassVar[list[str]] = []

            async def put(self, name: str, data: bytes) -> None:
                await super().put(name, data)
                if not self.names:
                    await age(database)
                self.names.append(name)

        await BlobStore(database, Slow(parse_blob_url(url))).put(b"x" * 100_000, "run_a")
        first, second = Slow.names
        assert await BlobStore(database, S3Objects(parse_blob_url(url))).sweep(lambda: None) == 1
        assert await object_names(s3_endpoint, url) == [f"payloads/{second}"]
        assert first != second

    @pytest.mark.parametrize("what", ["nobody listens", "no bucket"])
    async def test_a_store_that_is_away_is_no_missing_blob(
        self, what: str, s3_endpoint: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        endpoint = f"http://127.0.0.1:{free_port()}" if what == "nobody listens" else s3_endpoint
        objects = S3Objects(parse_blob_url(f"s3://not-there?endpoint={endpoint}"))
        for ask in (objects.check(), objects.get("a"), objects.put("a", b"x"), objects.delete(["a"])):
            with pytest.raises(DependencyUnavailable) as failed:
                await ask
            assert "STUDIO_BLOB_URL" in failed.value.detail
            assert endpoint not in failed.value.detail + caplog.text
            assert "hidden" not in failed.value.detail + caplog.text
