"""`make fuzz`: schemathesis over the OpenAPI documents of the three services, on a stack of its own.

No 5xx, no status, media type or body that is not documented; links are followed. `python -m tests.fuzz api 3000` takes
one service, and a number of cases.
"""

import math
import subprocess
import sys
import tempfile
from pathlib import Path

import orjson

from bench.harness import free_port, process
from studio.contracts.base import JsonObject
from tests.fuzz.bounded import bounded
from tests.support.openapi import documents
from tests.support.stack import StudioCommand

CASES = 3000
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
_PARTS = ("api", "prompts", "llm")


def main() -> int:
    chosen = [part for part in sys.argv[1:] if part in _PARTS] or list(_PARTS)
    cases = next((int(word) for word in sys.argv[1:] if word.isdigit()), CASES)
    described = documents()
    with tempfile.TemporaryDirectory(prefix="studio-fuzz-") as folder:
        upstream = free_port()
        known = [{"name": "up", "base_url": f"http://127.0.0.1:{upstream}/v1"}]
        studio = StudioCommand(
            Path(folder, "data"),
            env={
                "STUDIO_UPSTREAMS": orjson.dumps(known).decode(),
                "STUDIO_MODEL_ALIASES": '{"default": "up/m"}',
            },
        )
        with process("-m", "bench.constant_upstream", str(upstream), ready=f"http://127.0.0.1:{upstream}/v1/models"):
            started = studio.up()
            try:
                if started.returncode:
                    sys.stderr.write(started.stdout + started.stderr)
                    return 1
                codes = [
                    fuzz(described[part], studio.status()[part]["address"], cases, Path(folder, f"{part}.json"))
                    for part in chosen
                ]
            finally:
                studio.down()
    return max(codes)


def fuzz(document: JsonObject, url: str, cases: int, path: Path) -> int:
    """Schemathesis' exit code. At least so many cases, spread over the document's operations."""
    path.write_bytes(orjson.dumps(bounded(document)))
    operations = sum(len(item) for item in document["paths"].values())
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", str(path), "--url", url),
        *("--max-examples", str(math.ceil(cases / operations)), "--checks", ",".join(CHECKS)),
        *(
            "--exclude-operation-id",
            "export_documents",
        ),  # answers several YAML documents: schemathesis crashes
        *("--header", "Accept: application/json", "--request-timeout", "30", "--continue-on-failure"),
        *("--phases", "fuzzing,stateful", "--suppress-health-check", "all", "--no-color"),
    ]
    ended = subprocess.run(command, cwd=path.parent, stderr=subprocess.PIPE, text=True, check=False)
    sys.stderr.write(ended.stderr)
    return ended.returncode or int("Traceback" in ended.stderr)  # a worker of its own that crashed is no success


if __name__ == "__main__":
    sys.exit(main())
