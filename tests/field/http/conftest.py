from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.support.databases import sqlite_database
from tests.support.llm_engine import engine, openai, sink, start_engine, upstream
from tests.support.services import RunningApi, api_settings, serving_api

__all__ = ["engine", "openai", "sink", "start_engine", "upstream"]

UI = "http://127.0.0.1:8233"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncGenerator[RunningApi]:
    """Over SQLite alone, with a Temporal UI."""
    settings = api_settings(tmp_path, database_url=sqlite_database(tmp_path), temporal_ui_url=UI)
    async with serving_api(settings) as running:
        yield running
