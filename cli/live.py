"""A run on a terminal: what has ended stays above, what is going on moves below."""

import asyncio
import contextlib
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import orjson
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from cli.follow import ConnectionLost
from cli.output import cost_text, count_text, duration_text, safe
from cli.story import RunStory, StepStory
from cli.waits import decision_text, parked_text, pause_commands, pause_text, retrying_text, wait_commands, wait_head
from studio.contracts.base import Json, JsonObject, utc_now
from studio.contracts.events import RunEvent

REFRESH_SECONDS = 0.08
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
PREVIEW_LINES = 4
"""Of a finished step's output; the whole of it is in `studio get`."""
TAIL_CHARACTERS = 8000
QUEUED_HINT_SECONDS = 5.0
RESERVED_LINES = 4
"""Of the terminal's height, for the line of totals and what surrounds it."""
_MARKS = {
    "succeeded": ("✓", "green"),
    "failed": ("✗", "bold red"),
    "skipped": ("»", "dim"),
    "cancelled": ("■", "yellow"),
}


class LiveView:
    """Draws while it is open. Take it as `async with LiveView(console) as view` and give it what `follow` yields."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._story = RunStory()
        self._opened = time.monotonic()
        self._lost: str | None = None
        # Refreshed by a task of ours: Rich's own thread would read the story while it changes.
        self._live = Live(console=console, get_renderable=self._draw, auto_refresh=False, transient=True)

    async def __aenter__(self) -> Self:
        self._live.start()
        self._ticker = asyncio.create_task(self._tick(), name="live-view")
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._ticker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._ticker
        self._live.stop()

    async def _tick(self) -> None:
        while True:
            self._live.refresh()
            await asyncio.sleep(REFRESH_SECONDS)

    def take(self, news: RunEvent | ConnectionLost) -> None:
        if isinstance(news, ConnectionLost):
            self._lost = news.reason
            return
        self._lost = None
        step = self._story.take(news)
        if step is None or not news.type.startswith("step."):
            return  # `usage`, too, names the step that it came with
        if step.is_block and news.type == "step.started":
            again = f" · round {step.round}" if step.round is not None else ""
            self._print(Text.assemble(_margin(step), ("▸ ", "dim"), (safe(step.title), "bold"), (again, "dim")))
        elif news.type == "step.retrying" and news.attempt == step.attempt:  # else it comes late
            why = retrying_text(step.attempt, news.data)
            self._print(Text.assemble(_margin(step), ("↻ ", "yellow"), (f"{safe(step.title):<18}  ", "bold"), why))
        elif step.status in _MARKS and not (step.is_block and step.status == "succeeded"):
            self._print(*self._ended(step))

    def _print(self, *lines: Text) -> None:
        self._live.refresh()  # what is printed is followed by the last frame, which must not be an older one
        self._live.console.print(Group(*lines))

    def _ended(self, step: StepStory) -> Iterable[Text]:
        is_rejected = (step.decision or {}).get("decision") == "reject"
        mark, style = ("✗", "yellow") if is_rejected else _MARKS[step.status]
        line = Text.assemble(_margin(step), (f"{mark} ", style), (f"{safe(step.title):<18}", "bold"))
        facts = [step.status] if step.status in {"skipped", "cancelled"} else []
        facts += [f"round {step.round}"] if step.round is not None else []
        facts += [duration_text(step.duration_ms)] if step.duration_ms is not None and step.kind != "transform" else []
        if step.attempt > 1:
            facts.append(f"{step.attempt} attempts")
        if step.usage.llm_calls:
            facts += [count_text(step.usage.total_tokens, "token"), cost_text(step.cost_usd)]
        yield line.append("  " + " · ".join(facts), "dim")
        if step.decision is not None:
            yield _bar(step, Text(decision_text(step.decision), "dim"))
        elif step.error is not None and not step.is_block:
            yield from self._quoted(step, f"{step.error.type}: {step.error.message}", "red", PREVIEW_LINES * 2)
        elif step.status == "succeeded" and step.output is not None:
            yield from self._quoted(step, _one_text(step.output), "dim", PREVIEW_LINES)

    def _quoted(self, step: StepStory, text: str, style: str, most: int) -> Iterable[Text]:
        """The first lines of a text, under its step."""
        lines = self._wrapped(step, text.strip(), style)
        hidden = len(lines) - most
        shown = lines[: most - 1] if hidden > 0 else lines
        yield from (_bar(step, line) for line in shown)
        if hidden > 0:
            yield _bar(step, Text(f"… {count_text(hidden + 1, 'more line')}", "dim italic"))

    def _wrapped(self, step: StepStory, text: str, style: str) -> list[Text]:
        width = max(self._console.width - len(_margin(step)) - 5, 20)
        return list(Text(safe(text), style).wrap(self._console, width, tab_size=4))

    def _draw(self) -> Group:
        spinner = SPINNER[int(time.monotonic() / REFRESH_SECONDS) % len(SPINNER)]
        running = self._story.running
        room = max((self._console.height - RESERVED_LINES) // max(len(running), 1) - 1, 1)
        lines = [line for step in running for line in self._running(step, spinner, room)]
        if not self._story.steps and self._story.status in {None, "running"}:
            lines.append(self._queued(spinner))
        elif self._story.paused is not None:
            lines += self._paused(*self._story.paused)
        elif not running and self._story.status == "running":
            lines.append(Text.assemble((f"{spinner} ", "cyan"), ("between steps", "dim")))
        return Group(*lines[-(self._console.height - 2) :], self._totals())

    def _paused(self, path: str, paused: JsonObject) -> Iterable[Text]:
        yield Text.assemble(("‖ ", "magenta"), (safe(pause_text(path, paused)), "bold"))
        for command in pause_commands(self._story.run_id, path, paused):
            yield Text.assemble(("  │ ", "dim"), (safe(command), "cyan"))

    def _queued(self, spinner: str) -> Text:
        line = Text.assemble((f"{spinner} ", "cyan"), ("waiting for a worker to take the run up", "dim"))
        if time.monotonic() - self._opened > QUEUED_HINT_SECONDS:
            line.append("; `studio status` shows whether one is there", "yellow")
        return line

    def _waiting(self, step: StepStory, waiting: JsonObject, room: int) -> Iterable[Text]:
        line = Text.assemble(_margin(step), ("◦ ", "magenta"), (f"{safe(step.title):<18}", "bold"))
        yield line.append(f"  {wait_head(waiting)}", "magenta")
        if waiting.get("for") in {"approval", "resolve"}:
            is_parked = waiting["for"] == "resolve"
            text = parked_text(waiting) if is_parked else str(waiting.get("message")).strip()
            message = self._wrapped(step, text, "red" if is_parked else "")
            yield from (_bar(step, part) for part in message[: max(room - 1, 1)])
        for command in wait_commands(self._story.run_id, step.path, waiting):
            yield _bar(step, Text(command, "cyan"))

    def _running(self, step: StepStory, spinner: str, room: int) -> Iterable[Text]:
        if step.waiting is not None:
            yield from self._waiting(step, step.waiting, room)
            return
        line = Text.assemble(_margin(step), (f"{spinner} ", "cyan"), (f"{safe(step.title):<18}", "bold"))
        facts: list[str] = []
        if step.started_at is not None:
            facts.append(duration_text(max((utc_now() - step.started_at).total_seconds() * 1000, 0)))
        pause = ((step.next_attempt_at or utc_now()) - utc_now()).total_seconds()
        if step.attempt > 1:
            facts.append(f"attempt {step.attempt}" + (f" in {duration_text(pause * 1000)}" if pause > 0 else ""))
        if step.pieces:
            facts.append(count_text(step.pieces, "token"))
        yield line.append("  " + " · ".join(facts), "dim")
        text, style = (step.text, "") if step.text.strip() else (step.thinking, "dim italic")
        if text.strip():
            tail = text[-TAIL_CHARACTERS:].strip("\n")
            yield from (_bar(step, part) for part in self._wrapped(step, tail, style)[-room:])

    def _totals(self) -> Text:
        story = self._story
        facts = [duration_text((time.monotonic() - self._opened) * 1000)]
        if story.usage.llm_calls:
            facts += [count_text(story.usage.total_tokens, "token"), cost_text(story.cost_usd)]
        line = Text("  " + " · ".join(facts), "dim", no_wrap=True, overflow="ellipsis")
        if self._lost is not None:
            return line.append(" · connection lost, reconnecting (the run goes on)", "yellow")
        return line.append(" · Ctrl-C detaches, the run goes on")


def _margin(step: StepStory) -> str:
    return "  " * step.depth


def _bar(step: StepStory, line: Text) -> Text:
    return Text.assemble(_margin(step), ("  │ ", "dim"), line)


def _one_text(value: Json) -> str:
    """Text as it is, everything else as JSON on one line."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()
