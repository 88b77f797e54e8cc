"""A data folder whose key is lost, or is another one: never a new key, and a word on what to do."""

import base64
import json
import secrets
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cli.stack.keys import secret_keys
from cli.stack.state import DataFolder
from tests.field.stack.invoking import invoke
from tests.support.stack import StudioCommand, only


def new_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def used_before(studio: StudioCommand, keys: str | None, key_id: str | None) -> None:
    """As a stack leaves its folder that has had runs."""
    (studio.data / "temporal").mkdir(parents=True)
    (studio.data / "temporal" / "temporal.db").write_bytes(b"histories")
    if keys is not None:
        (studio.data / "secret-keys").write_text(keys)
    if key_id is not None:
        (studio.data / "secret-keys.id").write_text(key_id)


def refused(studio: StudioCommand, **env: str) -> str:
    answer = invoke(studio, "up", *studio.where(), *only("redis"), **env)
    assert answer.returncode == 1, answer
    assert len(answer.stderr.splitlines()) == 1
    return answer.stderr


def key_check(studio: StudioCommand) -> Any:
    checks = json.loads(invoke(studio, "doctor", "--json", "--data", str(studio.data)).stdout)["checks"]
    return next(check for check in checks if check["name"] == "secret keys")


class TestLostKey:
    def test_histories_without_their_key(self, studio: StudioCommand) -> None:
        used_before(studio, None, "b7858070")
        said = refused(studio)
        assert "The key is lost" in said
        assert "b7858070" in said
        assert "STUDIO_SECRET_KEYS" in said
        assert not (studio.data / "secret-keys").exists()
        found = key_check(studio)
        assert (found["outcome"], "b7858070" in found["fix"]) == ("problem", True)

    def test_also_when_the_id_went_with_it(self, studio: StudioCommand) -> None:
        used_before(studio, None, None)
        assert "The key is lost" in refused(studio)

    def test_runs_in_sql_alone(self, studio: StudioCommand) -> None:
        studio.data.mkdir()
        with closing(sqlite3.connect(studio.data / "studio.db")) as database, database:
            database.execute("CREATE TABLE runs (id TEXT)")
            database.execute("INSERT INTO runs VALUES ('run_1')")
        assert "studio.db" in refused(studio)

    @pytest.mark.parametrize(
        "text", ["garbage", "YWJj", "\ufffd" * 40, f"{new_key()},x"], ids=["text", "short", "no text", "one of two"]
    )
    def test_a_file_that_holds_no_key(self, studio: StudioCommand, text: str) -> None:
        used_before(studio, text, None)
        said = refused(studio)
        assert "secret-keys" in said
        assert "backup" in said
        assert (studio.data / "secret-keys").read_text() == text

    def test_an_empty_file_is_a_lost_key(self, studio: StudioCommand) -> None:
        used_before(studio, "\n", None)
        assert "The key is lost" in refused(studio)


class TestAnotherKey:
    def test_in_the_file(self, studio: StudioCommand) -> None:
        key = new_key()
        used_before(studio, key, "b7858070")
        said = refused(studio)
        assert "was encrypted with the key b7858070" in said
        assert key not in said
        assert key_check(studio)["outcome"] == "problem"

    def test_in_the_settings(self, studio: StudioCommand) -> None:
        used_before(studio, None, "b7858070")
        key = new_key()
        said = refused(studio, STUDIO_SECRET_KEYS=key)
        assert "STUDIO_SECRET_KEYS=NEW,OLD" in said
        assert key not in said

    @pytest.mark.parametrize("keys", ["abc", " , ", f"{new_key()},short"], ids=["short", "none", "one of two"])
    def test_a_bad_setting_is_one_line(self, studio: StudioCommand, keys: str) -> None:
        answer = invoke(studio, "up", *studio.where(), *only("redis"), STUDIO_SECRET_KEYS=keys)
        assert answer.returncode == 2
        (line,) = answer.stderr.splitlines()
        assert line.startswith("error: STUDIO_SECRET_KEYS is ********: holds ")

    def test_a_new_one_before_the_old_one_is_taken(self, studio: StudioCommand) -> None:
        """Rotation: the newest key encrypts, the id of it is kept from then on."""
        studio.data.mkdir()
        old = secret_keys(DataFolder(studio.data), None)
        assert (studio.data / "secret-keys").read_text().strip() == old
        first = self._id(studio)
        (studio.data / "temporal").mkdir()
        (studio.data / "temporal" / "temporal.db").write_bytes(b"histories")
        new = new_key()
        assert secret_keys(DataFolder(studio.data), f"{new},{old}") == f"{new},{old}"
        assert self._id(studio) not in {"", first}
        assert "was encrypted with the key" in refused(studio, STUDIO_SECRET_KEYS=old)

    @staticmethod
    def _id(studio: StudioCommand) -> str:
        path: Path = studio.data / "secret-keys.id"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        return path.read_text().strip()
