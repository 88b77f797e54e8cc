"""`studio up --detach` comes back when something never gets ready, and names it."""

import json
import subprocess
import sys

from tests.support.ports import free_port
from tests.support.stack import StudioCommand, only

_IMPATIENT = "from cli.stack import detached; detached.PROGRESS_SECONDS = 6; from cli.main import main; main()"


class TestDeadline:
    def test_the_only_upstream_is_dead(self, studio: StudioCommand) -> None:
        upstreams = [{"name": "dead", "base_url": f"http://127.0.0.1:{free_port()}/v1"}]
        arguments = ["up", "--detach", *studio.where(), *only("llm", "redis")]
        answer = subprocess.run(
            [sys.executable, "-c", _IMPATIENT, *arguments],
            env=studio.environment(STUDIO_UPSTREAMS=json.dumps(upstreams)),
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert answer.returncode == 1
        (line,) = answer.stderr.splitlines()
        assert line.startswith("error: Not ready, and nothing has changed for 6 s: ")
        assert "llm (" in line
        assert "`studio logs llm`" in line
        assert studio.status()["redis"]["ready"], "the stack continues to start in the background"
