"""`studio test`. It imports what it needs when it runs."""

from pathlib import Path
from typing import Annotated

import typer

from cli.commands import DEFINITIONS, JsonOption


def register(app: typer.Typer) -> None:
    app.command("test", rich_help_panel=DEFINITIONS)(run_cases)


def run_cases(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...",
            help="Definitions, their test files (NAME.test.yaml beside NAME.yaml), or folders with everything below.",
            exists=True,
        ),
    ],
    record: Annotated[
        str | None,
        typer.Option("--record", metavar="RUN", help="First add a case with the replies of this finished run."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run workflows against scripted replies, offline and in virtual time.

    Needs no running stack, except for --record. Exit code 1 when a case fails or a definition holds errors.

    Example: studio test examples/
    """
    from cli.testing.command import run_tests

    run_tests(paths, record=record, as_json=as_json)
