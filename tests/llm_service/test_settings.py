import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from llm_service.settings import LlmSettings
from studio.errors import SettingsError
from studio.settings import load_settings

UP = {"name": "up", "base_url": "http://models.internal:9000"}


def load(**settings: Any) -> LlmSettings:
    return load_settings(LlmSettings, **settings)


class TestUpstreams:
    def test_come_from_json_in_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("STUDIO_UPSTREAMS", orjson.dumps([UP]).decode())
        (upstream,) = load().upstreams
        assert (upstream.kind, upstream.base_url, upstream.retries) == ("openai", "http://models.internal:9000/v1", 2)

    def test_come_from_a_file(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        path = tmp_path / "upstreams.json"
        path.write_bytes(orjson.dumps([UP | {"kind": "litellm", "base_url": "https://llm/openai/v3/"}]))
        monkeypatch.setenv("STUDIO_UPSTREAMS", str(path))
        assert load().upstreams[0].base_url == "https://llm/openai/v3"

    def test_resolve_references_and_hide_secrets(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PROVIDER_KEY", "sk-very-secret")
        settings = load(upstreams=[UP | {"api_key": "${PROVIDER_KEY}", "headers": {"X-Team": "t-${PROVIDER_KEY}"}}])
        (upstream,) = settings.upstreams
        assert upstream.api_key is not None
        assert upstream.api_key.get_secret_value() == "sk-very-secret"
        assert upstream.headers["X-Team"].get_secret_value() == "t-sk-very-secret"
        assert "sk-very-secret" not in repr(settings)

    def test_the_line_break_at_the_end_of_a_secret_file_is_no_part_of_the_key(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PROVIDER_KEY", "sk-very-secret\n")
        (upstream,) = load(upstreams=[UP | {"api_key": "${PROVIDER_KEY}"}]).upstreams
        assert upstream.api_key is not None
        assert upstream.api_key.get_secret_value() == "sk-very-secret"

    @pytest.mark.parametrize(
        ("upstreams", "complaint"),
        [
            ([UP | {"kind": "ollama"}], r"STUDIO_UPSTREAMS at 0\.kind: .*'ollama' is not supported"),
            ([UP | {"api_key": "${NOT_SET_ANYWHERE}"}], r"at 0\.api_key: .*NOT_SET_ANYWHERE, which is not set"),
            ([UP | {"retrys": 1}], r"at 0\.retrys: Extra inputs are not permitted"),
            ([UP, UP], "more than one upstream is called up"),
            ([UP | {"base_url": "models:9000"}], r"at 0\.base_url: .*must be an http"),
            ([UP | {"api_key": "sk-a\nsk-b"}], r"at 0\.api_key: holds a line break"),
            ([UP | {"headers": {"X-Team": "a\r\nHost: b"}}], r"at 0\.headers\.X-Team: holds a line break"),
            ([UP | {"headers": {"X-Team: a\r\nHost": "b"}}], r"at 0\.headers: .* is no name of a header"),
            ([], "at least 1 item"),
            ("[{", "is not JSON"),
            ("no/such/file.json", "there is no such file"),
        ],
    )
    def test_what_is_wrong_is_named(self, upstreams: Any, complaint: str) -> None:
        with pytest.raises(SettingsError, match=complaint):
            load(upstreams=upstreams)


class TestAliases:
    def test_are_a_model_or_a_model_with_parameters(self) -> None:
        given = '{"a": "up/x", "b": {"model": "up/y", "params": {"temperature": 0}}}'
        aliases = load(upstreams=[UP], model_aliases=given).model_aliases
        assert (aliases["a"].model, aliases["b"].params) == ("up/x", {"temperature": 0})

    @pytest.mark.parametrize(
        ("alias", "complaint"),
        [
            ("down/x", "which names none of the upstreams"),
            ({"model": "up/x", "fallbacks": ["up/y"]}, r"at a\.fallbacks: Extra inputs"),
            ({"model": "up/x", "params": {"model": "y"}}, "may not set model"),
        ],
    )
    def test_what_is_wrong_is_named(self, alias: Any, complaint: str) -> None:
        with pytest.raises(SettingsError, match=complaint):
            load(upstreams=[UP], model_aliases={"a": alias})


class TestStart:
    def test_without_upstreams_refuses_and_names_the_variable(self, tmp_path: Path) -> None:
        started = subprocess.run(
            [sys.executable, "-m", "llm_service"],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env={"PYTHONPATH": str(Path(__file__).parents[2])},
            timeout=60,
        )
        assert started.returncode == 2
        assert started.stderr.startswith("STUDIO_UPSTREAMS is not set.")
        assert "Traceback" not in started.stderr
