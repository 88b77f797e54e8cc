"""A database of a test's own, on either engine."""

import uuid
from pathlib import Path

import psycopg


def sqlite_database(folder: Path) -> str:
    return f"sqlite+aiosqlite:///{folder / 'studio.db'}"


def postgres_database(server_url: str) -> str:
    """Create an empty database on the server; it goes with the server."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(server_url.replace("postgresql+psycopg://", "postgresql://"), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    return f"{server_url.rpartition('/')[0]}/{name}"
