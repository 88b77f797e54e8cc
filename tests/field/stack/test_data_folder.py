"""The data folder: who may read it, and what is said when it cannot be used."""

import stat
from pathlib import Path

import pytest

from tests.field.stack.invoking import invoke
from tests.support.stack import StudioCommand, only


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def said_once(studio: StudioCommand, data: Path, *flags: str) -> str:
    answer = invoke(studio, "up", "--data", str(data), *only("redis"), *flags)
    assert answer.returncode == 1
    (line,) = answer.stderr.splitlines()
    assert line.startswith("error: ")
    assert not line.startswith("error: error: ")
    return line


class TestModes:
    def test_a_folder_that_others_could_enter_is_closed(self, studio: StudioCommand) -> None:
        (studio.data / "logs").mkdir(parents=True)
        studio.data.chmod(0o755)
        assert studio.up("redis", "mongo").returncode == 0
        assert mode(studio.data) == 0o700
        made = [path for path in studio.data.rglob("*") if path != studio.data / "logs"]
        assert {"stack.json", "stack.lock", "stack.log", "redis.log", "secret-keys"} <= {path.name for path in made}
        assert [path for path in made if mode(path) & 0o077] == []

    def test_a_folder_that_also_holds_something_else_is_left_and_said(self, studio: StudioCommand) -> None:
        studio.data.mkdir()
        studio.data.chmod(0o755)
        (studio.data / "thesis.tex").touch()
        answer = studio.up("redis")
        assert answer.returncode == 0
        assert "'thesis.tex'" in answer.stdout
        assert mode(studio.data) == 0o755
        assert mode(studio.data / "stack.json") == 0o600


class TestUnusable:
    @pytest.mark.parametrize("flags", [[], ["--detach"]])
    def test_a_file(self, studio: StudioCommand, tmp_path: Path, flags: list[str]) -> None:
        file = tmp_path / "file"
        file.touch()
        assert f"{file}: Not a folder" in said_once(studio, file, *flags)

    @pytest.mark.parametrize("flags", [[], ["--detach"]])
    def test_below_a_file(self, studio: StudioCommand, tmp_path: Path, flags: list[str]) -> None:
        (tmp_path / "file").touch()
        assert "--data" in said_once(studio, tmp_path / "file" / "data", *flags)

    def test_where_nothing_can_be_written(self, studio: StudioCommand) -> None:
        assert "/proc/studio" in said_once(studio, Path("/proc/studio"))

    def test_a_full_disk(self, studio: StudioCommand) -> None:
        """`/dev/full` is the system's own full device."""
        studio.data.mkdir()
        (studio.data / "stack.new").symlink_to("/dev/full")
        assert "No space left on device" in said_once(studio, studio.data)

    def test_a_full_disk_that_takes_no_log_either(self, studio: StudioCommand) -> None:
        (studio.data / "logs").mkdir(parents=True)
        (studio.data / "logs" / "stack.log").symlink_to("/dev/full")
        (studio.data / "stack.new").symlink_to("/dev/full")
        assert "stack.log: No space left on device" in said_once(studio, studio.data, "--detach")

    def test_other_commands_on_what_is_no_folder(self, studio: StudioCommand, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        answer = studio.run("status", "--data", str(tmp_path / "file" / "data"))
        assert answer.returncode == 1
        assert answer.stderr == f"error: {tmp_path}/file/data/stack.lock: Not a directory.\n"
