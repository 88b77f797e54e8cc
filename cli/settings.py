"""Where the CLI finds the three services."""

from pathlib import Path

from cli.stack import state
from studio.settings import StudioSettings, load_settings


class CliSettings(StudioSettings):
    """`api_url`, `prompt_url` and `llm_url` of the installation that the commands talk to."""


def load_cli_settings(data_dir: Path | None = None) -> CliSettings:
    """A URL that is not set is that of the stack that runs on the data folder, else the default port's.

    Raises `SettingsError`.
    """
    settings = load_settings(CliSettings, **({"data_dir": data_dir} if data_dir else {}))
    stack = state.load(settings.data_dir)
    if stack is None:
        return settings
    found = {"api_url": stack.address("api"), "prompt_url": stack.address("prompts"), "llm_url": stack.address("llm")}
    local = {name: url for name, url in found.items() if url and name not in settings.model_fields_set}
    return settings.model_copy(update=local)
