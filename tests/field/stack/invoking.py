"""The `studio` command called as a function: for what ends before anything is started."""

import contextlib
import os
import subprocess

from typer.testing import CliRunner

from cli.main import app
from tests.support.stack import StudioCommand


def invoke(studio: StudioCommand, *arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """Raises what the command raised, `SystemExit` aside."""
    unset = {name: None for name in os.environ if name.startswith("STUDIO_")}  # noqa: TID251 - a command's environment
    with contextlib.chdir(studio.data.parent):
        result = CliRunner().invoke(app, arguments, env={**unset, **env})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return subprocess.CompletedProcess(arguments, result.exit_code, result.stdout, result.stderr)
