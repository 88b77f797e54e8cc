"""What is wrong with the settings is said before anything is started: all of it, each thing once."""

import json

import pytest

from cli.stack.ports import port_table
from cli.stack.settings import StackSettings
from studio.settings import load_settings
from tests.field.stack.invoking import invoke
from tests.support.stack import StudioCommand, only


class TestBadSettings:
    def test_of_several_services_at_once(self, studio: StudioCommand) -> None:
        answer = invoke(
            studio,
            "up",
            *studio.where(),
            STUDIO_UPSTREAMS='[{"name": "one", "base_url": "ftp://x"}]',
            STUDIO_RUN_RETENTION_DAYS="-4",
            STUDIO_TRACE_RETENTION_DAYS="long",
            STUDIO_WORKER_MAX_POLLERS="1",
        )
        assert answer.returncode == 2
        lines = answer.stderr.splitlines()
        assert lines[0].startswith("error: STUDIO_")
        assert [sum(name in line for line in lines) for name in _NAMES] == [1, 1, 1, 1]
        assert "Value error" not in answer.stderr
        assert not (studio.data / "logs" / "redis.log").exists()

    def test_a_reference_to_what_is_not_set(self, studio: StudioCommand) -> None:
        upstreams = [{"name": "one", "base_url": "http://x", "api_key": "${NOT_SET_ANYWHERE}"}]
        answer = invoke(studio, "up", *studio.where(), *only("llm"), STUDIO_UPSTREAMS=json.dumps(upstreams))
        assert answer.returncode == 2
        assert "NOT_SET_ANYWHERE" in answer.stderr

    def test_a_settings_file_that_is_not_there(self, studio: StudioCommand) -> None:
        answer = invoke(studio, "up", *studio.where(), *only("redis"), STUDIO_CONFIG="/not/there.yaml")
        assert answer.returncode == 2
        assert "STUDIO_CONFIG is '/not/there.yaml'" in answer.stderr

    def test_a_settings_file_that_is_no_yaml(self, studio: StudioCommand) -> None:
        path = studio.data.parent / "settings.yaml"
        path.write_text("log_level: [\n")
        answer = invoke(studio, "up", *studio.where(), *only("redis"), STUDIO_CONFIG=str(path))
        assert answer.returncode == 2
        assert "is not YAML (line 2)" in answer.stderr

    @pytest.mark.parametrize(
        ("content", "why"),
        [(None, "there is no such file"), (b"\xff", "is not UTF-8"), (b"[{", "is not JSON")],
        ids=["missing", "binary", "broken"],
    )
    def test_a_file_of_upstreams_that_cannot_be_read(
        self, studio: StudioCommand, content: bytes | None, why: str
    ) -> None:
        path = studio.data.parent / "upstreams.json"
        if content is not None:
            path.write_bytes(content)
        answer = invoke(studio, "up", *studio.where(), STUDIO_UPSTREAMS=str(path))
        assert answer.returncode == 2
        (line,) = answer.stderr.splitlines()
        assert line.startswith("error: STUDIO_UPSTREAMS is ")
        assert why in line

    def test_a_certificate_that_is_not_there(self, studio: StudioCommand) -> None:
        tls = {"STUDIO_TEMPORAL_TLS_CERT": "/not/there.pem", "STUDIO_TEMPORAL_TLS_KEY": "/not/there.key"}
        answer = invoke(studio, "up", *studio.where(), STUDIO_TEMPORAL_ADDRESS="127.0.0.1:1", **tls)
        assert answer.returncode == 2
        assert answer.stderr == "error: STUDIO_TEMPORAL_TLS_CERT is '/not/there.pem': No such file or directory.\n"


_NAMES = (
    "STUDIO_UPSTREAMS at 0.base_url",
    "STUDIO_RUN_RETENTION_DAYS",
    "STUDIO_TRACE_RETENTION_DAYS",
    "STUDIO_WORKER_MAX_POLLERS",
)


class TestOwnAddresses:
    """`STUDIO_API_URL`, exported for the command line, names the port that is about to be served."""

    def test_what_nobody_serves_yet_is_started(self, studio: StudioCommand) -> None:
        answer = studio.up("redis", STUDIO_REDIS_URL=f"redis://localhost:{studio.port_base + 5}/")
        assert answer.returncode == 0, answer.stderr
        assert studio.status()["redis"]["pid"] is not None

    def test_what_counts_as_our_own(self, studio: StudioCommand) -> None:
        ports = port_table(studio.port_base)
        own = ["http://127.0.0.1:{}", "http://localhost:{}/", "http://[::1]:{}"]
        other = ["http://elsewhere:{}", "http://127.0.0.1:1{}", "http://127.0.0.1:{}/studio", "http://u:p@127.0.0.1:{}"]
        for text in (*own, *other):
            url = text.format(ports["api"])
            settings = load_settings(StackSettings, api_url=url).without_own(ports)
            assert settings.address_of("api") == (None if text in own else url)

    def test_a_taken_port_is_said_once(self, studio: StudioCommand) -> None:
        studio.up("redis")
        other = StudioCommand(studio.data.parent / "other", studio.port_base)
        answer = other.run("up", "--detach", *other.where(), *only("redis"))
        assert answer.returncode == 1
        assert answer.stderr.startswith(f"error: Port {studio.port_base + 5} for redis is taken")
