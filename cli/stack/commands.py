"""The commands of the embedded stack. Each imports what it needs when it runs, so that `studio --help` is quick."""

from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from cli.output import print_json, print_table
from cli.stack import screen
from cli.stack.logs import follow, tail
from cli.stack.state import AlreadyRunning, DataFolder, StackState, load
from studio.errors import SettingsError
from studio.settings import StudioSettings, load_settings

DataOption = Annotated[
    Path | None, typer.Option("--data", help="The stack's folder; STUDIO_DATA_DIR or .studio when left out.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    for command in (up, down, status, logs, doctor, migrate):
        app.command(rich_help_panel="Stack")(command)


def up(
    data: DataOption = None,
    port_base: Annotated[
        int | None,
        typer.Option(min=1024, max=65_527, help="Use N, N+1, … instead of the default ports."),
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Start only this part; may be given again.")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return once everything is ready.")] = False,
) -> None:
    """Start everything that has no address in the settings; Ctrl-C stops it.

    Example: studio up --port-base 9000 --detach
    """
    from cli.stack.detached import UpOptions, up_detached
    from cli.stack.failures import StartFailed, describe
    from cli.stack.ports import PART_NAMES

    parts = only or []
    unknown = [part for part in parts if part not in PART_NAMES]
    if unknown:
        raise typer.BadParameter(f"there is no part {unknown[0]!r}; parts are {', '.join(PART_NAMES)}")
    options = UpOptions(data, port_base, parts)
    console = Console()
    try:
        if not detach:
            from cli.stack.up import up as run_stack

            run_stack(options, console)
            return
        state = up_detached(options, console)
    except (StartFailed, AlreadyRunning, SettingsError) as error:
        _fail(error)
    except OSError as error:
        _fail(StartFailed(f"{describe(error)} Make the data folder writable, or name another one with --data DIR."))
    if not console.is_terminal:
        _show(state)
    typer.echo("It runs in the background: `studio status`, `studio logs PART`, `studio down`.")


def down(data: DataOption = None) -> None:
    """Stop the stack that runs on the data folder.

    Example: studio down --data .studio
    """
    from cli.stack.down import down as stop_stack

    folder = _folder(data)
    typer.echo("Stopped." if stop_stack(folder, typer.echo) else f"Nothing runs on {folder.root}.")


def status(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Show each part, its address and whether it is ready; exits with 1 unless all are.

    Example: studio status --json
    """
    folder = _folder(data)
    state = load(folder.root)
    if as_json:
        fields = {"name", "address", "ready", "detail", "pid"}
        parts = [part.model_dump(mode="json", include=fields) for part in state.parts] if state else []
        print_json({"data": str(folder.root), "parts": parts})
    elif state is None:
        typer.echo(f"Nothing runs on {folder.root}. Start it with `studio up`.")
    else:
        _show(state)
    if state is None or not state.ready:
        raise typer.Exit(1)


def logs(
    part: Annotated[str, typer.Argument(help="A part, `migrations`, or `stack` for a stack in the background.")],
    data: DataOption = None,
    following: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines are written.")] = False,
    count: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many of the last lines.")] = 100,
) -> None:
    """Print the log of a part.

    Example: studio logs worker -f
    """
    folder = _folder(data)
    path = folder.log(part)
    known = sorted(log.stem for log in folder.logs.glob("*.log"))
    if part not in known:
        raise typer.BadParameter(
            f"there is no log of {part!r} in {folder.logs}; there are: {', '.join(known) or 'none'}"
        )
    typer.echo(tail(path, count))
    if following:
        try:
            for block in follow(path):
                typer.echo(block, nl=False)
        except KeyboardInterrupt:
            return


def doctor(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Check every dependency, embedded or remote, and say what to do about what is wrong.

    Example: studio doctor
    """
    from cli.stack.doctor import examine

    try:
        report = examine(data)
    except SettingsError as error:
        _fail(error)
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        report.show()
    if report.exit_code:
        raise typer.Exit(report.exit_code)


def migrate(data: DataOption = None) -> None:
    """Bring every store to the newest schema.

    Example: STUDIO_DATABASE_URL=postgresql+psycopg://… studio migrate
    """
    from cli.stack.migrate import migrate_all

    try:
        code = migrate_all(data, typer.echo)
    except SettingsError as error:
        _fail(error)
    if code:
        raise typer.Exit(code)


def _show(state: StackState) -> None:
    rows = [(part.name, screen.mark(part), part.address, part.detail or "") for part in state.parts]
    print_table(("part", "state", "address", "detail"), rows)


def _folder(data: Path | None) -> DataFolder:
    try:
        return DataFolder((data or load_settings(StudioSettings).data_dir).resolve())
    except SettingsError as error:
        _fail(error)


def _fail(error: Exception) -> NoReturn:
    from cli.remote import FAILED, USAGE, fail
    from cli.stack.failures import StartFailed

    if isinstance(error, StartFailed):
        fail(str(error), code=error.exit_code)
    fail(str(error), code=USAGE if isinstance(error, SettingsError) else FAILED)
