import signal
import socket
import stat
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest
from pymongo import MongoClient
from redis import Redis

from tests.support.stack import StudioCommand, only, until


def _redis(studio: StudioCommand) -> Redis:
    return Redis.from_url(studio.status()["redis"]["address"], decode_responses=True)


def _mongo(studio: StudioCommand) -> MongoClient[Any]:
    return MongoClient(studio.status()["mongo"]["address"])


class TestUp:
    def test_everything_asked_for_is_ready_when_it_returns(self, studio: StudioCommand) -> None:
        answer = studio.up("redis", "temporal-ui")
        assert answer.returncode == 0, answer.stderr
        parts = studio.status()
        assert set(parts) == {"redis", "temporal", "temporal-ui"}
        assert all(part["ready"] for part in parts.values())
        assert parts["temporal"]["address"] == f"127.0.0.1:{studio.port_base + 3}"
        assert parts["temporal-ui"]["address"] == f"http://127.0.0.1:{studio.port_base + 4}"
        assert parts["redis"]["address"] == f"redis://127.0.0.1:{studio.port_base + 5}"
        assert parts["temporal"]["address"] in answer.stdout

    def test_ctrl_c_stops_everything(self, studio: StudioCommand) -> None:
        process = studio.start("up", *studio.where(), *only("redis"))
        until(lambda: studio.status().get("redis", {}).get("ready", False), "redis ready")
        redis = psutil.Process(studio.status()["redis"]["pid"])
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
        assert process.returncode == 0, output
        assert f"redis is ready: redis://127.0.0.1:{studio.port_base + 5}" in output
        assert "Everything is stopped." in output
        assert not redis.is_running()

    def test_a_killed_part_starts_again_and_it_says_so(self, studio: StudioCommand) -> None:
        studio.up("redis")
        pid = studio.status()["redis"]["pid"]
        psutil.Process(pid).kill()
        until(lambda: studio.status()["redis"]["pid"] not in {pid, None}, "another process")
        until(lambda: studio.status()["redis"]["ready"], "ready again")
        assert "redis ended (signal SIGKILL); it starts again in 0.5 s" in studio.log()

    def test_a_killed_mongo_has_all_that_it_answered_for(self, studio: StudioCommand) -> None:
        studio.up("mongo")
        with _mongo(studio) as mongo:
            for number in range(50):
                mongo.kept.numbers.insert_one({"_id": number})
        pid = studio.status()["mongo"]["pid"]
        psutil.Process(pid).kill()
        until(lambda: studio.status()["mongo"]["pid"] not in {pid, None}, "another process")
        until(lambda: studio.status()["mongo"]["ready"], "ready again")
        with _mongo(studio) as mongo:
            assert mongo.kept.numbers.count_documents({}) == 50

    def test_the_data_is_there_again(self, studio: StudioCommand) -> None:
        studio.up("redis")
        with _redis(studio) as redis:
            redis.set("kept", "yes")
        keys = (studio.data / "secret-keys").read_text()
        assert studio.down().returncode == 0
        assert studio.up("redis").returncode == 0
        with _redis(studio) as redis:
            assert redis.get("kept") == "yes"
        assert (studio.data / "secret-keys").read_text() == keys

    def test_the_key_is_nobody_elses_and_never_shown(self, studio: StudioCommand) -> None:
        answer = studio.up("redis")
        file = studio.data / "secret-keys"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        key = file.read_text().strip()
        shown = answer.stdout + answer.stderr + studio.run("doctor", "--data", str(studio.data)).stdout
        written = (
            "".join(path.read_text() for path in studio.data.rglob("*.log")) + (studio.data / "stack.json").read_text()
        )
        assert key not in shown + written

    def test_a_taken_port_is_named(self, studio: StudioCommand) -> None:
        with socket.create_server(("127.0.0.1", studio.port_base + 5)):
            answer = studio.run("up", *studio.where(), *only("redis"))
        assert answer.returncode == 1
        assert f"Port {studio.port_base + 5} for redis is taken" in answer.stderr
        assert "--port-base" in answer.stderr

    @pytest.mark.parametrize("flags", [[], ["--detach"]])
    def test_a_second_stack_on_the_same_data_is_refused(self, studio: StudioCommand, flags: list[str]) -> None:
        studio.up("redis")
        answer = studio.run("up", *studio.where(), *only("redis"), *flags)
        assert answer.returncode == 1
        assert f"A stack already runs on {studio.data}" in answer.stderr.replace("\n", "")
        assert studio.status()["redis"]["ready"]

    def test_unknown_part(self, studio: StudioCommand) -> None:
        answer = studio.run("up", *studio.where(), *only("rediss"))
        assert answer.returncode == 2
        assert "rediss" in answer.stderr

    def test_a_service_without_what_it_needs_is_refused(self, studio: StudioCommand) -> None:
        answer = studio.run("up", *studio.where(), *only("prompts", "redis"))
        assert answer.returncode == 2
        assert "prompts needs mongo: add --only mongo, or set STUDIO_MONGO_URL" in answer.stderr

    def test_a_wrong_setting_names_the_variable(self, studio: StudioCommand) -> None:
        answer = studio.up("redis", STUDIO_LOG_LEVEL="loud")
        assert answer.returncode == 2
        assert "STUDIO_LOG_LEVEL" in answer.stderr

    def test_a_part_that_cannot_start_ends_it_with_the_reason(self, studio: StudioCommand) -> None:
        (studio.data / "redis").mkdir(parents=True)
        (studio.data / "redis" / "appendonly.aof").write_text("this is no log of commands")
        answer = studio.up("redis")
        assert answer.returncode == 1
        assert "redis ended 3 times (exit code 1)" in answer.stderr
        assert "Bad file format" in answer.stderr
        assert not studio.processes()


class TestExternalParts:
    def test_it_is_checked_and_not_started(self, studio: StudioCommand, redis_url: str) -> None:
        answer = studio.up("redis", STUDIO_REDIS_URL=redis_url)
        assert answer.returncode == 0, answer.stderr
        assert studio.status()["redis"] == {
            "name": "redis",
            "address": redis_url,
            "ready": True,
            "detail": "Redis 6.2.5",
            "pid": None,
        }
        assert "external" in answer.stdout

    def test_it_cannot_be_reached(self, studio: StudioCommand) -> None:
        address = f"redis://:hidden@127.0.0.1:{studio.port_base + 5}"
        answer = studio.up("redis", STUDIO_REDIS_URL=address)
        assert answer.returncode == 3
        assert f"redis at redis://:***@127.0.0.1:{studio.port_base + 5} cannot be reached" in answer.stderr
        assert "hidden" not in answer.stderr + studio.log()


class TestKilledSupervisor:
    def test_its_parts_die_with_it_and_the_next_one_finds_the_data(self, studio: StudioCommand) -> None:
        studio.up("redis", "mongo")
        with _redis(studio) as redis:
            redis.set("kept", "yes")
        parts = [psutil.Process(part["pid"]) for part in studio.status().values()]
        psutil.Process(parts[0].ppid()).kill()
        _, alive = psutil.wait_procs(parts, timeout=20)
        assert not alive
        assert studio.run("status", "--data", str(studio.data)).returncode == 1
        answer = studio.up("redis", "mongo")
        assert answer.returncode == 0, answer.stderr
        with _redis(studio) as redis:
            assert redis.get("kept") == "yes"

    def test_down_stops_what_is_left(self, studio: StudioCommand, tmp_path: Path) -> None:
        """A part that outlives its supervisor: here one that ignores the signal it gets then."""
        studio.up("redis")
        redis = psutil.Process(studio.status()["redis"]["pid"])
        redis.suspend()  # a stopped process does not act on SIGTERM
        psutil.Process(redis.ppid()).kill()
        answer = studio.down()
        assert answer.returncode == 0
        assert "redis is left from a stack that was killed" in answer.stdout
        assert not redis.is_running() or redis.status() == psutil.STATUS_ZOMBIE


class TestDown:
    def test_it_leaves_no_process(self, studio: StudioCommand) -> None:
        studio.up("redis", "mongo", "temporal", "embeddings")
        pids = [part["pid"] for part in studio.status().values()]
        answer = studio.down()
        assert (answer.returncode, answer.stdout) == (0, "Stopped.\n")
        assert not studio.processes()
        assert not any(psutil.pid_exists(pid) for pid in pids)

    def test_nothing_runs(self, studio: StudioCommand) -> None:
        answer = studio.down()
        assert answer.returncode == 0
        assert "Nothing runs on" in answer.stdout


class TestStatus:
    def test_nothing_runs(self, studio: StudioCommand) -> None:
        answer = studio.run("status", "--data", str(studio.data))
        assert answer.returncode == 1
        assert "studio up" in answer.stdout

    def test_a_part_that_hangs_is_not_ready(self, studio: StudioCommand) -> None:
        studio.up("redis")
        redis = psutil.Process(studio.status()["redis"]["pid"])
        redis.suspend()
        until(lambda: not studio.status()["redis"]["ready"], "not ready")
        redis.resume()
        until(lambda: studio.status()["redis"]["ready"], "ready again")
        assert studio.status()["redis"]["pid"] == redis.pid


class TestLogs:
    def test_follow(self, studio: StudioCommand) -> None:
        studio.up("redis")
        with subprocess.Popen(
            studio.command("logs", "redis", "-f", "--data", str(studio.data)),
            stdout=subprocess.PIPE,
            text=True,
            env={**studio.environment(), "PYTHONUNBUFFERED": "1"},
        ) as process:
            assert process.stdout
            assert any("Ready to accept connections" in line for line in iter(process.stdout.readline, ""))
            psutil.Process(studio.status()["redis"]["pid"]).terminate()
            assert any("Redis is now ready to exit" in line for line in iter(process.stdout.readline, ""))
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=10) == 0

    def test_no_such_log(self, studio: StudioCommand) -> None:
        answer = studio.run("logs", "redis", "--data", str(studio.data))
        assert answer.returncode == 2
