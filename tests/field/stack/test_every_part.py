"""One whole stack: what each part can read of the user's secrets, and how a dead upstream shows."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest

from tests.support.ports import free_port
from tests.support.stack import StudioCommand, until

UPSTREAM_KEY, NAMED_KEY, STRAY_KEY, MONGO_HINT = "sk-canary-inline", "sk-canary-named", "canary-stray", "canary-mongo"


class _Models(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"object": "list", "data": []}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Not to standard error."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudioCommand]:
    """Ready, with an upstream that answers and one that is dead."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Models) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        upstreams = [
            {"name": "good", "base_url": f"http://127.0.0.1:{server.server_port}/v1", "api_key": UPSTREAM_KEY},
            {"name": "dead", "base_url": f"http://127.0.0.1:{free_port()}/v1", "api_key": "${THE_NAMED_KEY}"},
        ]
        env = {
            "STUDIO_UPSTREAMS": json.dumps(upstreams),
            "THE_NAMED_KEY": NAMED_KEY,
            "A_STRAY_SECRET": STRAY_KEY,
            "AWS_SECRET_ACCESS_KEY": STRAY_KEY,
            "STUDIO_MONGO_DATABASE": MONGO_HINT,
            "STUDIO_API_URL": "",
        }
        command = StudioCommand(tmp_path_factory.mktemp("stack") / "data", env=env)
        answer = command.up()
        assert answer.returncode == 0, answer.stdout + answer.stderr
        yield command
        command.down()
        server.shutdown()


def environment(part: dict[str, Any]) -> str:
    return "\n".join(f"{name}={value}" for name, value in psutil.Process(part["pid"]).environ().items())


@pytest.mark.timeout(180)
class TestEnvironment:
    def test_only_the_llm_engine_can_read_the_keys_of_upstreams(self, stack: StudioCommand) -> None:
        parts = {name: part for name, part in stack.status().items() if part["pid"]}
        for key in (UPSTREAM_KEY, NAMED_KEY):
            assert [name for name, part in parts.items() if key in environment(part)] == ["llm"]

    def test_only_who_codes_payloads_can_read_the_secret_keys(self, stack: StudioCommand) -> None:
        key = (stack.data / "secret-keys").read_text().strip()
        found = [name for name, part in stack.status().items() if part["pid"] and key in environment(part)]
        assert sorted(found) == ["api", "worker"]

    def test_settings_go_to_those_that_read_them(self, stack: StudioCommand) -> None:
        found = [name for name, part in stack.status().items() if part["pid"] and MONGO_HINT in environment(part)]
        assert found == ["prompts"]

    def test_what_is_no_setting_stays_outside(self, stack: StudioCommand) -> None:
        parts = [part for part in stack.status().values() if part["pid"]]
        assert len(parts) == 7
        assert not any(STRAY_KEY in environment(part) for part in parts)


@pytest.mark.timeout(180)
class TestDegraded:
    def test_status_names_the_dead_upstream_and_all_is_ready(self, stack: StudioCommand) -> None:
        answer = stack.run("status", "--data", str(stack.data))
        assert answer.returncode == 0
        (line,) = (line for line in answer.stdout.splitlines() if line.startswith("llm "))
        assert line.split()[1] == "degraded"
        assert "dead" in line
        assert stack.status()["llm"]["ready"] is True

    def test_the_log_of_the_stack_says_it(self, stack: StudioCommand) -> None:
        assert "llm is degraded: " in stack.log()

    def test_doctor(self, stack: StudioCommand) -> None:
        answer = stack.run("doctor", "--json", "--data", str(stack.data))
        report = json.loads(answer.stdout)
        checks = {check["name"]: check for check in report["checks"]}
        assert (checks["llm"]["outcome"], checks["upstream dead"]["outcome"]) == ("degraded", "unreachable")
        assert answer.returncode == 3

    def test_doctor_prints_what_is_in_effect_and_from_where(self, stack: StudioCommand) -> None:
        report = json.loads(stack.run("doctor", "--json", "--data", str(stack.data)).stdout)
        settings, sources = report["settings"], report["sources"]
        assert settings["STUDIO_API_URL"] == f"http://127.0.0.1:{stack.port_base}"
        assert settings["STUDIO_REDIS_URL"] == f"redis://127.0.0.1:{stack.port_base + 5}"
        assert (sources["STUDIO_API_URL"], sources["STUDIO_UPSTREAMS"]) == ("the running stack", "the environment")
        assert sources["STUDIO_SECRET_KEYS"] == str(stack.data / "secret-keys")
        assert settings["STUDIO_SECRET_KEYS"] == settings["STUDIO_UPSTREAMS"] == "********"
        assert sources["STUDIO_LOG_LEVEL"] == "default"
        assert settings["STUDIO_MONGO_DATABASE"] == MONGO_HINT


@pytest.mark.timeout(180)
class TestAfterwards:
    def test_a_part_that_was_away_says_for_how_long(self, stack: StudioCommand) -> None:
        psutil.Process(stack.status()["redis"]["pid"]).kill()

        def again() -> bool:
            return "redis is ready again: " in stack.log()

        until(again, "ready again")
        (line,) = (line for line in stack.log().splitlines() if line.startswith("redis is ready again: "))
        assert float(line.rpartition("(after ")[2].removesuffix(" s)")) < 30

    def test_no_secret_is_in_any_log(self, stack: StudioCommand) -> None:
        written = "".join(path.read_text(errors="replace") for path in Path(stack.data / "logs").iterdir())
        key = (stack.data / "secret-keys").read_text().strip()
        assert not any(secret in written for secret in (UPSTREAM_KEY, NAMED_KEY, STRAY_KEY, key))
