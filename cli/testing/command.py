"""What `studio test` does."""

from collections.abc import Sequence
from pathlib import Path

import typer

from cli.definitions import rejections_reported
from cli.output import plain, print_json
from cli.remote import FAILED
from cli.testing.files import read_suites
from cli.testing.recording import record_run
from cli.testing.report import print_results
from cli.testing.running import prepare, run_case


def run_tests(paths: Sequence[Path], *, record: str | None, as_json: bool) -> None:
    """Raises `typer.Exit` unless every case passed."""
    with rejections_reported(as_json=as_json):
        if record is not None:
            record_run(paths, record)
        suites, library = read_suites(paths)
        results = [run_case(ready, library) for ready in prepare(suites, library)]
    failed = sum(not result.passed for result in results)
    if as_json:
        counts = {"passed": len(results) - failed, "failed": failed}
        print_json({**counts, "cases": [plain(result) for result in results]})
    else:
        print_results(results)
    if failed:
        raise typer.Exit(FAILED)
