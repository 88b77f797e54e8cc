from pathlib import Path

import pytest

from tests.support.databases import sqlite_database
from tests.workflows.conftest import engine

__all__ = ["engine"]


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return sqlite_database(tmp_path)
