"""`python -m api`: serve the workflow engine's API."""

import sys

from api.app import create_app
from api.settings import ApiSettings
from studio.errors import SettingsError
from studio.settings import load_settings
from studio.telemetry import configure_logging
from studio.web.serve import serve


def main() -> int:
    try:
        settings = load_settings(ApiSettings)
    except SettingsError as error:
        sys.stderr.write(f"{error.detail}\n")
        return 2
    configure_logging("api", settings)
    serve(create_app(settings), settings.host, settings.port)
    return 0


if __name__ == "__main__":
    sys.exit(main())
