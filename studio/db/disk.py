"""Whether the database can write nothing since its disk is full."""

import shutil
import sqlite3
from pathlib import Path

from psycopg.errors import DiskFull
from sqlalchemy.exc import DBAPIError

DISK_FULL = "The disk of the database is full: nothing can be written until there is space again."
LEAST_FREE_BYTES = 64 * 1024
"""On SQLite's disk: less does not hold the next few pages."""


def is_disk_full(error: BaseException | None) -> bool:
    """SQLite's `SQLITE_FULL`, PostgreSQL's 53100."""
    original = error.orig if isinstance(error, DBAPIError) else None
    if isinstance(original, sqlite3.Error):
        return getattr(original, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
    return isinstance(original, DiskFull)


def has_space(file: Path) -> bool:
    """Whether the disk on which an SQLite database is has some left."""
    return shutil.disk_usage(file.parent).free >= LEAST_FREE_BYTES
