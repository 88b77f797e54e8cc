"""The whole stack, as `make demo` starts it."""

import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from cli.settings import load_cli_settings
from cli.stack.ports import PART_NAMES
from tests.support.stack import StudioCommand

ROOT = Path(__file__).parents[3]


def ui_settings(address: str) -> str:
    """What the Temporal UI tells its pages."""
    with urllib.request.urlopen(f"{address}/api/v1/settings", timeout=10) as answer:  # noqa: S310 - on loopback
        return answer.read().decode()


class TestFullStack:
    @pytest.mark.timeout(240)
    def test_every_part_is_ready_again_on_the_same_data(self, studio: StudioCommand) -> None:
        for _ in range(2):
            answer = studio.up()
            assert answer.returncode == 0, answer.stderr
            parts = studio.status()
            assert set(parts) == set(PART_NAMES)
            assert all(part["ready"] for part in parts.values())
            api_url = f"http://127.0.0.1:{studio.port_base}"
            assert load_cli_settings(studio.data).api_url == api_url
            assert f"{api_url}/codec" in ui_settings(parts["temporal-ui"]["address"])
            assert studio.down().returncode == 0
            assert not studio.processes()
        assert load_cli_settings(studio.data).api_url == "http://127.0.0.1:8000"


class TestDemo:
    @pytest.mark.timeout(300)
    def test_it_ends_with_the_runs_outcome_and_leaves_nothing(self, studio: StudioCommand, tmp_path: Path) -> None:
        shutil.copytree(ROOT / "examples", tmp_path / "examples")
        answer = subprocess.run(
            [sys.executable, "-P", "-m", "cli.demo"],
            cwd=tmp_path,
            env=studio.environment(STUDIO_DATA_DIR=str(studio.data)),
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert answer.returncode == 0, answer.stdout + answer.stderr
        assert "run succeeded" in answer.stdout
        assert "/docs" in answer.stdout
        assert "/namespaces/default/workflows" in answer.stdout
        assert "Stopped." in answer.stdout
        assert not studio.processes()
