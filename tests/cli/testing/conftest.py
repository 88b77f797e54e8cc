import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import orjson
import pytest
from typer.testing import CliRunner

from cli.main import app
from tests.cli.support.command import Finished


@dataclass(frozen=True)
class Offline:
    """`studio test` in a folder, without network: `studio("poem.yaml")`."""

    folder: Path

    def __call__(self, *arguments: str) -> Finished:
        result = CliRunner().invoke(app, ["test", *arguments], env={"NO_COLOR": "1", "STUDIO_API_URL": "nonsense"})
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Finished(result.exit_code, result.stdout, result.stderr)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def case(self, workflow: str, *cases: str) -> list[dict[str, Any]]:
        """Run these cases on a workflow; their results."""
        self.write("it.yaml", workflow)
        self.write("it.test.yaml", "---\n".join(cases))
        return orjson.loads(self("it.yaml", "--json").out)["cases"]


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Offline:
    def refuse(*_arguments: object, **_named: object) -> NoReturn:
        raise AssertionError("no sockets here")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.chdir(tmp_path)
    return Offline(tmp_path)
