"""`make demo`: the whole product on the local model, with no key and no account.

Starts the stack if it is not up, applies `examples/`, runs `research-brief` before your eyes and prints where to look
next. On a terminal the stack stays up until Ctrl-C; elsewhere what was started is stopped again. Exits with the run's
outcome.
"""

import signal
import subprocess
import sys
from pathlib import Path

import typer
from rich.console import Console

from cli.remote import fail
from cli.settings import load_cli_settings
from cli.stack.detached import UpOptions, up_detached
from cli.stack.down import down
from cli.stack.failures import StartFailed
from cli.stack.ports import first_free_base
from cli.stack.state import AlreadyRunning, DataFolder, StackState, load
from studio.errors import SettingsError

EXAMPLES = Path("examples")
WORKFLOW = "research-brief"
TOPIC = "how heat pumps work"


def main() -> int:
    """Returns the exit code."""
    console = Console(highlight=False)
    if not EXAMPLES.is_dir():
        fail("There is no folder examples/ here.", "Run the demo in a checkout of the project.", code=2)
    try:
        data = load_cli_settings().data_dir.resolve()
        running = load(data)
        started = running is None
        state = running or _start(console)
    except StartFailed as error:
        fail(str(error), code=error.exit_code)
    except (AlreadyRunning, SettingsError) as error:
        fail(str(error))
    try:
        outcome = _show(console, state)
        if started and console.is_terminal:
            console.print("\nThe stack stays up. Ctrl-C stops it.")
            _wait_for_interrupt()
    except KeyboardInterrupt:
        outcome = 130
    finally:
        if started:
            _stop(console, DataFolder(data))
    return outcome


def _start(console: Console) -> StackState:
    base = first_free_base()
    where = f" on ports from {base}, since some of the usual ones are taken" if base else ""
    console.print(f"Starting the stack{where} …")
    return up_detached(UpOptions(None, base, ()), console)


def _stop(console: Console, folder: DataFolder) -> None:
    console.print("Stopping the stack …")
    try:
        down(folder, typer.echo)
    except KeyboardInterrupt:
        console.print("It continues to stop in the background.")
    else:
        console.print("Stopped. Its data stays; `.venv/bin/studio up` starts it again.", soft_wrap=True)


def _show(console: Console, state: StackState) -> int:
    """Apply, run and print where to look; returns the exit code of what failed, or of the run."""
    code = _studio("apply", "-f", str(EXAMPLES)) or _studio("run", WORKFLOW, "--input", f"topic={TOPIC}")
    console.print()
    for what, address in _addresses(state):
        console.print(f"{what:<24} {address}", soft_wrap=True)
    console.print(f"{'Again, on your topic':<24} .venv/bin/studio run {WORKFLOW} topic='…'", soft_wrap=True)
    return code


def _addresses(state: StackState) -> list[tuple[str, str]]:
    pages = {
        "API documentation": ("api", "/docs"),
        "Prompt engine": ("prompts", "/docs"),
        "LLM engine (OpenAI API)": ("llm", "/v1"),
        "Temporal UI": ("temporal-ui", "/namespaces/default/workflows"),
    }
    known = [(what, state.address(part), path) for what, (part, path) in pages.items()]
    return [(what, f"{address}{path}") for what, address, path in known if address]


def _studio(*arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", "cli.main", *arguments], check=False).returncode  # noqa: S603 - ours


def _wait_for_interrupt() -> None:
    try:
        signal.pause()
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    sys.exit(main())
