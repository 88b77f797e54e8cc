"""The `studio` command."""

import typer

from cli.commands import register as register_commands
from cli.stack.commands import register as register_stack_commands

app = typer.Typer(
    name="studio",
    help="AI Studio: run AI agents in production.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
register_commands(app)
register_stack_commands(app)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
