"""`python -m prompt_service`."""

import sys

from prompt_service.app import SERVICE, create_app
from prompt_service.settings import PromptSettings
from studio.errors import SettingsError
from studio.settings import load_settings
from studio.telemetry import configure_logging
from studio.web.serve import serve


def main() -> int:
    try:
        settings = load_settings(PromptSettings)
    except SettingsError as error:
        sys.stderr.write(f"{error.detail}\n")
        return 2
    configure_logging(SERVICE, settings)
    serve(create_app(settings), settings.host, settings.port)
    return 0


if __name__ == "__main__":
    sys.exit(main())
