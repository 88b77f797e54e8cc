"""Large payloads by their content, in SQL."""

import hashlib

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from studio.contracts.base import utc_now
from studio.db.engine import Database
from studio.db.tables import BlobRow
from studio.errors import NotFound


class BlobStore:
    """Content-addressed: the same bytes are stored once, under their SHA-256 in hex."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        async with self._database.read() as session:
            if await session.scalar(select(BlobRow.digest).where(BlobRow.digest == digest)) is not None:
                return digest
        try:
            async with self._database.write() as session:
                session.add(BlobRow(digest=digest, data=data, created_at=utc_now()))
        except IntegrityError:
            pass  # somebody stored the same bytes in between
        return digest

    async def get(self, digest: str) -> bytes:
        """Raises `NotFound` when the blob was removed."""
        async with self._database.read() as session:
            row = await session.get(BlobRow, digest)
        if row is None:
            raise NotFound(f"The stored payload {digest!r} is gone; what it held cannot be read any more.")
        return row.data
