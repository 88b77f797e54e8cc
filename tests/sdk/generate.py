"""`make sdk`: Python clients of the three services, generated from their OpenAPI documents; docs/sdk.md."""

import subprocess
import sys
import tempfile
from pathlib import Path

import orjson

from studio.contracts.base import JsonObject
from tests.support.openapi import documents

CONFIG = """
content_type_overrides:
  application/yaml: application/octet-stream
  text/event-stream: application/octet-stream
post_hooks: []
"""


def generate(document: JsonObject, name: str, folder: Path) -> str:
    """Write the package `name` into `folder`; what the generator says. Raises `CalledProcessError`."""
    with tempfile.TemporaryDirectory() as given:
        described, config = Path(given, "openapi.json"), Path(given, "config.yaml")
        described.write_bytes(orjson.dumps(document))
        config.write_text(CONFIG)
        answer = subprocess.run(
            [
                *(sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none", "--overwrite"),
                *("--path", described, "--config", config, "--output-path", folder / name),
            ],
            check=True,
            capture_output=True,
            text=True,
        )
    return answer.stdout + answer.stderr


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for service, document in documents().items():
        generate(document, f"studio_{service}", folder)
        sys.stdout.write(f"{folder / f'studio_{service}'}\n")


if __name__ == "__main__":
    main()
