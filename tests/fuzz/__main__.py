"""`make fuzz`: schemathesis over the OpenAPI documents of the three services, on a stack of its own.

No 5xx, and no status, media type, header or body that is not documented; links are followed. Then mutations: valid
requests with something wrong inside. `python -m tests.fuzz api 3000` takes one of `llm`, `prompts`, `api` and
`mutations`, and a number of cases. Ends with a summary; exits with 1 when anything is wrong.
"""

import argparse
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import orjson

from bench.harness import ROOT, free_port, process
from studio.contracts.base import JsonObject
from tests.fuzz import mutations
from tests.fuzz.bounded import bounded
from tests.fuzz.hints import hinted
from tests.fuzz.progress import COUNTS_VARIABLE
from tests.fuzz.seeds import Hint, seed_api, seed_llm, seed_prompts
from tests.fuzz.summary import Counts, number_of_links, report, say
from tests.support.openapi import documents
from tests.support.stack import StudioCommand

CASES = 3000
SEQUENCES = 150
"""Of linked requests, for each service."""
_CONFIG = """
[cache]
enabled = false

[generation]
max-examples = {examples}
database = "none"

[phases.stateful]
max-steps = 8
inference.algorithms = {inference}

# Every boundary of every field, which does not come to an end on the steps of workflows: too many alternatives in each
# other. Fuzzing has these two as all others, and `apply` and `validate` take workflows, too.
[[operations]]
include-operation-id = ["create_workflow", "replace_workflow"]
phases.coverage.enabled = false
"""
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
_SEEDS: Mapping[str, Callable[[str], list[Hint]]] = {"llm": seed_llm, "prompts": seed_prompts, "api": seed_api}

_MUTATIONS = "mutations"


def main() -> int:
    asked = argparse.ArgumentParser(prog="python -m tests.fuzz")
    asked.add_argument("part", nargs="?", choices=[*_SEEDS, _MUTATIONS], help="default: all")
    asked.add_argument("cases", nargs="?", type=int, default=CASES)
    arguments = asked.parse_args()
    chosen = [arguments.part] if arguments.part else [*_SEEDS, _MUTATIONS]
    cases: int = arguments.cases
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
                addresses = {name: part["address"] for name, part in studio.status().items()}
                found = [
                    _mutate(addresses["api"], cases)
                    if name == _MUTATIONS
                    else _fuzz(name, described[name], addresses[name], cases, Path(folder))
                    for name in chosen
                ]
            finally:
                studio.down()
    say("", "Fuzzed:", *(line for lines, _ in found for line in lines))
    return int(not all(well for _, well in found))


def _fuzz(service: str, document: JsonObject, url: str, cases: int, folder: Path) -> tuple[Sequence[str], bool]:
    """The lines of the summary, and whether all is well."""
    say("", f"{service}: filling it")
    hints, path, started = _SEEDS[service](url), folder / f"{service}.json", time.monotonic()
    path.write_bytes(orjson.dumps(hinted(bounded(document), hints)))
    counts, rounds = _run(path, url, "coverage,fuzzing", _examples(document, cases)), 0
    while number_of_links(document) and counts.sequences < SEQUENCES:
        # The phase ends when an answer is not what it was for the same request: a server that remembers sees to that.
        # Every other round has the links of the document alone; those that schemathesis infers are ten times as many.
        more = _run(path, url, "stateful", SEQUENCES, infer=rounds % 2 == 1)
        counts, rounds = counts.plus(more), rounds + 1
        if not more.sequences or more.failures or more.errors:
            break
    return report(service, document, counts, time.monotonic() - started)


def _run(path: Path, url: str, phase: str, examples: int, *, infer: bool = False) -> Counts:
    config, counts = path.with_suffix(".toml"), path.with_suffix(".counts")
    counts.unlink(missing_ok=True)
    inference = ["location-headers", "dependency-analysis"] if infer else []
    config.write_text(_CONFIG.format(examples=examples, inference=orjson.dumps(inference).decode()))
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(config)),
        *("run", str(path), "--url", url, "--phases", phase, "--checks", ",".join(CHECKS)),
        *("--header", "Accept: application/json", "--request-timeout", "30", "--continue-on-failure"),
        *("--suppress-health-check", "all", "--no-color", "--warnings", "off"),
    ]
    hooks = {"SCHEMATHESIS_HOOKS": "tests.fuzz.progress", COUNTS_VARIABLE: str(counts)}
    env = {**os.environ, **hooks}  # noqa: TID251 - handed on
    ended = subprocess.run(command, env=env, cwd=ROOT, check=False)
    if not counts.exists():
        raise RuntimeError(f"schemathesis ended with {ended.returncode} before it called anything")
    found = Counts(**orjson.loads(counts.read_bytes()))
    well = ended.returncode == 0 or found.failures or found.errors
    return found if well else replace(found, errors=1)


def _mutate(url: str, cases: int) -> tuple[Sequence[str], bool]:
    say("", f"{_MUTATIONS}: filling it")
    hints, seed, started = seed_api(url), random.randrange(2**32), time.monotonic()
    wrong = mutations.run(url, hints, cases, seed)
    seconds = time.monotonic() - started
    line = f"{_MUTATIONS}: {cases} cases in {seconds:.0f} s, seed {seed}: {len(wrong)} failures"
    return [line, *(f"  {one}" for one in wrong)], not wrong


def _examples(document: JsonObject, cases: int) -> int:
    """For each operation, so that there are `cases` in all. What takes no input is called once."""
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    varied = [operation for operation in operations if operation.get("parameters") or operation.get("requestBody")]
    return math.ceil(cases / len(varied))


if __name__ == "__main__":
    sys.exit(main())
