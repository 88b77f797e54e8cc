"""What `studio test` does."""

from collections.abc import Sequence
from pathlib import Path

import typer

from cli.definitions import print_errors, print_skipped, rejections_reported
from cli.files import FilesRejected
from cli.output import plain, print_json
from cli.remote import FAILED
from cli.testing.files import read_suites
from cli.testing.recording import record_run
from cli.testing.report import print_results
from cli.testing.running import prepare, run_case


def run_tests(paths: Sequence[Path], *, record: str | None, as_json: bool) -> None:
    """Raises `typer.Exit` unless every case passed and every file could be read."""
    with rejections_reported(as_json=as_json):
        if record is not None:
            record_run(paths, record)
        found = read_suites(paths)
        ready, unfit = prepare(found.suites, found.library)
        errors = [*found.errors, *unfit]
        if errors and not ready:
            raise FilesRejected([*errors, *found.skipped])
        results = [run_case(case, found.library) for case in ready]
    failed = sum(not result.passed for result in results)
    if as_json:
        places = {"errors": [plain(place) for place in errors], "skipped": [plain(place) for place in found.skipped]}
        counts = {"passed": len(results) - failed, "failed": failed}
        print_json({**counts, **places, "cases": [plain(result) for result in results]})
    else:
        print_results(results)
        print_skipped(found.skipped)
        print_errors(errors)
    if failed or errors:
        raise typer.Exit(FAILED)
