"""Large payloads by their content: an index in SQL, and the bytes beside it or in an S3-compatible store."""

import hashlib
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import datetime

from sqlalchemy import delete, select

from studio.blob_url import parse_blob_url
from studio.contracts.base import utc_now
from studio.db.engine import Database
from studio.db.tables import BlobRow
from studio.errors import DependencyUnavailable, NotFound
from studio.settings import TemporalSettings
from studio.store.blob_s3 import BLOB_STORE, S3Objects, new_name
from studio.store.blob_uses import (
    NO_RUN,
    TOUCH_AFTER,
    add_blob,
    add_strays,
    add_use,
    claim_stray,
    find_strays,
    find_use,
    forget_strays,
    release,
    touch,
)

_REFERENCE = b"object:"
"""Begins a row whose bytes are elsewhere; a stored payload is a protobuf message, which never begins so."""

SWEPT_AT_ONCE = 100


class BlobStore:
    """Content-addressed: the same bytes are stored once, under their SHA-256 in hex.

    New bytes go to `objects`, if it is given; each is read from where it was put.
    """

    def __init__(self, database: Database, objects: S3Objects | None = None) -> None:
        self._database = database
        self._objects = objects

    async def put(self, data: bytes, owner: str = NO_RUN) -> str:
        """Store the bytes for as long as the run `owner` is kept; returns their digest. Repeating it changes nothing.

        Raises `DependencyUnavailable` when the object store does not take them.
        """
        digest = hashlib.sha256(data).hexdigest()
        while not await self._is_put(digest, data, owner):
            pass  # it was removed in the middle, or storing it took very long
        return digest

    async def _is_put(self, digest: str, data: bytes, owner: str) -> bool:
        async with self._database.read() as session:
            stored_at, used = await find_use(session, digest, owner)
        if stored_at is None:
            return await self._insert(digest, data, owner)
        return used or await self._use(digest, owner, stored_at)

    async def _insert(self, digest: str, data: bytes, owner: str) -> bool:
        if self._objects is None:
            async with self._database.write() as session:
                await add_blob(session, digest, data, utc_now())
                await add_use(session, digest, owner)
            return True
        name = new_name(digest)
        async with self._database.write() as session:
            await add_strays(session, [name], utc_now())
        await self._objects.put(name, data)
        async with self._database.write() as session:
            if not await claim_stray(session, name, utc_now()):
                return False
            is_new = await add_blob(session, digest, _REFERENCE + name.encode(), utc_now())
            await add_use(session, digest, owner)
            if not is_new:  # somebody stored the same bytes in between
                await add_strays(session, [name], utc_now())
        if not is_new:
            with suppress(DependencyUnavailable):  # it is swept later
                await self._remove(self._objects, [name])
        return True

    async def _use(self, digest: str, owner: str, stored_at: datetime) -> bool:
        now = utc_now()
        async with self._database.write() as session:
            if now - stored_at > TOUCH_AFTER and not await touch(session, digest, now):
                return False
            await add_use(session, digest, owner)
        return True

    async def get(self, digest: str) -> bytes:
        """Raises `NotFound` when the blob was removed, `DependencyUnavailable` when its store does not answer."""
        async with self._database.read() as session:
            data = await session.scalar(select(BlobRow.data).where(BlobRow.digest == digest))
        if data is not None and data.startswith(_REFERENCE):
            data = await self._read(digest, data)
        if data is None:
            raise NotFound(f"The stored payload {digest!r} is gone; what it held cannot be read any more.")
        return data

    async def _read(self, digest: str, reference: bytes) -> bytes | None:
        if self._objects is None:
            detail = "A payload was stored apart from SQL, and STUDIO_BLOB_URL is not set. Set it to where that was."
            raise DependencyUnavailable(BLOB_STORE, detail)
        data = await self._objects.get(reference.removeprefix(_REFERENCE).decode())
        if data is None:  # whoever stores the same bytes again must not think that they are there
            async with self._database.write() as session:
                await session.execute(delete(BlobRow).where(BlobRow.digest == digest, BlobRow.data == reference))
        return data

    async def release(self, runs: Collection[str]) -> int:
        """Forget that these runs, which are gone, use blobs; returns how many blobs went with them."""
        if not runs:
            return 0
        async with self._database.write() as session:
            heads = await release(session, runs, utc_now())
            names = [head.removeprefix(_REFERENCE).decode() for head in heads if head.startswith(_REFERENCE)]
            await add_strays(session, names, utc_now())
        # A name is never used twice: who stores the same bytes meanwhile has an object of his own.
        if self._objects is not None and names:
            await self._remove(self._objects, names)
        return len(heads)

    async def sweep(self, beat: Callable[[], None]) -> int:
        """Remove objects that no blob names, since whoever put or removed them was stopped; returns how many. `beat` is
        called after each batch.
        """
        count = 0
        while self._objects is not None:
            async with self._database.read() as session:
                names = await find_strays(session, utc_now(), SWEPT_AT_ONCE)
            if not names:
                break
            await self._remove(self._objects, names)
            count += len(names)
            beat()
        return count

    async def _remove(self, objects: S3Objects, names: Sequence[str]) -> None:
        """The objects first: what is not done is swept. Raises `DependencyUnavailable`."""
        await objects.delete(names)
        async with self._database.write() as session:
            await forget_strays(session, names)

    async def check(self) -> None:
        """Raises `DependencyUnavailable` when the store apart from SQL does not answer."""
        if self._objects is not None:
            await self._objects.check()


def open_blobs(settings: TemporalSettings, database: Database) -> BlobStore:
    """Connects at the first use."""
    if not settings.blob_url:
        return BlobStore(database)
    return BlobStore(database, S3Objects(parse_blob_url(settings.blob_url)))
