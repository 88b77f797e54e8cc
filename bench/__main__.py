"""`python -m bench [--only NAME]... [--json FILE]`: our figures beside their floors, measured in the same run."""

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from bench.harness import Measurement, as_json, as_markdown, conditions

BENCHMARKS = ("core", "engine", "large", "gateway", "render", "streams", "schemas")
"""Modules of this folder; each has `measure() -> list[Measurement]`."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=BENCHMARKS, help="run only this one (may be repeated)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    arguments = parser.parse_args()
    about = conditions()
    found: dict[str, Sequence[Measurement]] = {}
    for name in cast("list[str] | None", arguments.only) or BENCHMARKS:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        measure = cast("Callable[[], list[Measurement]]", importlib.import_module(f"bench.{name}").measure)
        found[name] = measure()
    if arguments.json is not None:
        cast("Path", arguments.json).write_text(json.dumps(as_json(found, about), indent=2) + "\n", encoding="utf-8")
    print(as_markdown(found, about))
    return 0


if __name__ == "__main__":
    sys.exit(main())
