"""SQL errors go to logs."""

from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from studio.db import engine
from studio.db.engine import Database


class TestErrors:
    @pytest.mark.parametrize("kind", ["sqlite", "postgres"])
    async def test_hold_no_parameters(self, kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
        postgres = kind == "postgres"
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


class TestTurns:
    async def test_a_write_inside_another_fails_and_the_next_one_goes_on(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(engine, "TURN_SECONDS", 0.05)
        database = Database(f"sqlite+aiosqlite:///{tmp_path / 'a.db'}")
        try:
            async with database.write():
                with pytest.raises(PoolTimeout, match="no turn"):
                    async with database.write():
                        pass
            async with database.write() as session:
                assert await session.scalar(text("SELECT 1")) == 1
        finally:
            await database.close()
