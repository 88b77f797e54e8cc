"""`studio up --detach` comes back when something never gets ready, and names it."""

import json

import pytest

from cli.stack import detached
from tests.field.stack.invoking import invoke
from tests.support.ports import free_port
from tests.support.stack import StudioCommand, only


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the process that goes on
class TestDeadline:
    def test_the_only_upstream_is_dead(self, studio: StudioCommand, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(detached, "PROGRESS_SECONDS", 6.0)
        upstreams = [{"name": "dead", "base_url": f"http://127.0.0.1:{free_port()}/v1"}]
        answer = invoke(
            studio, "up", "--detach", *studio.where(), *only("llm", "redis"), STUDIO_UPSTREAMS=json.dumps(upstreams)
        )
        assert answer.returncode == 1
        (line,) = answer.stderr.splitlines()
        assert line.startswith("error: Not ready, and nothing has changed for 6 s: ")
        assert "llm (" in line
        assert "`studio logs llm`" in line
        assert studio.status()["redis"]["ready"], "the stack continues to start in the background"
