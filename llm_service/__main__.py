"""`python -m llm_service`: serve the LLM engine as the settings say."""

import sys

from llm_service.app import create_app
from llm_service.settings import LlmSettings
from studio.errors import SettingsError
from studio.settings import load_settings
from studio.telemetry import configure_logging
from studio.web.serve import serve


def main() -> int:
    try:
        settings = load_settings(LlmSettings)
    except SettingsError as error:
        sys.stderr.write(f"{error.detail}\n")
        return 2
    configure_logging("llm", settings)
    serve(create_app(settings), settings.host, settings.port)
    return 0


if __name__ == "__main__":
    sys.exit(main())
