"""What a person sees of the stack: a live table on a terminal, a line for each change elsewhere."""

from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cli.stack.state import PartState, StackState


class Screen:
    """Lines only: for pipes, files and the background."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def show(self, state: StackState) -> None:
        """The state has changed; lines have said so already."""


class LiveScreen(Screen):
    def __init__(self, console: Console, live: Live) -> None:
        super().__init__(console)
        self._live = live

    def show(self, state: StackState) -> None:
        self._live.update(table(state), refresh=True)


@contextmanager
def open_screen(console: Console) -> Generator[Screen]:
    if not console.is_terminal:
        yield Screen(console)
        return
    with Live(console=console, auto_refresh=False) as live:
        yield LiveScreen(console, live)


def table(state: StackState) -> Table:
    shown = Table(title=f"AI Studio on {state.data}", title_justify="left", box=None, pad_edge=False)
    for column in ("part", "", "address", ""):
        shown.add_column(column, overflow="fold")
    for part in state.parts:
        shown.add_row(
            part.name,
            Text(mark(part), "green" if part.ready and not part.degraded else "yellow"),
            part.address,
            Text(part.detail or "", style="dim"),
        )
    return shown


def mark(part: PartState) -> str:
    if not part.ready:
        return "not ready"
    if part.degraded:
        return "degraded"
    return "external" if part.external else "ready"
