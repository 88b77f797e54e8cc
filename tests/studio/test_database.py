"""SQL errors go to logs."""

from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from studio.db.engine import Database


class TestErrors:
    @pytest.mark.parametrize("engine", ["sqlite", "postgres"])
    async def test_hold_no_parameters(self, engine: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
        postgres = engine == "postgres"
        url = request.getfixturevalue("postgres_url") if postgres else f"sqlite+aiosqlite:///{tmp_path / 'a.db'}"
        database = Database(url)
        try:
            async with database.read() as session:
                with pytest.raises(DBAPIError) as failed:
                    await session.execute(text("SELECT * FROM missing WHERE a = :a"), {"a": "a secret prompt"})
        finally:
            await database.close()
        assert "missing" in str(failed.value)
        assert "a secret prompt" not in str(failed.value)
