"""The `studio` command."""

from typing import Annotated

import typer

from cli.catalog_commands import register as register_catalog_commands
from cli.commands import register as register_commands
from cli.prompt_commands import register as register_prompt_commands
from cli.rerun_commands import register as register_rerun_commands
from cli.schedule_commands import register as register_schedule_commands
from cli.stack.commands import register as register_stack_commands
from cli.steering_commands import register as register_steering_commands
from cli.testing.commands import register as register_test_command
from studio.leaving import leave

app = typer.Typer(
    name="studio",
    help="AI Studio: run AI agents in production.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"studio {version('ai-studio')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """AI Studio: run AI agents in production."""


register_commands(app)
register_catalog_commands(app)
register_steering_commands(app)
register_schedule_commands(app)
register_rerun_commands(app)
register_prompt_commands(app)
register_stack_commands(app)
register_test_command(app)


def main() -> None:
    try:
        app()
    except OSError as error:  # of a file that the command reads or writes: its name says more than a traceback
        from cli.output import err
        from cli.stack.failures import describe

        err().print(f"error: {describe(error)}", markup=False)
        leave(1)
    except SystemExit as end:
        leave(end.code if isinstance(end.code, int) else 1 if end.code else 0)


if __name__ == "__main__":
    main()
