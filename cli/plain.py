"""A run as lines: for logs, pipes and everything that is not a terminal."""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

import typer
from rich.text import Text

from cli.follow import ConnectionLost
from cli.output import cost_text, count_text, duration_text, err, safe
from cli.story import cost_of, decision_of, error_of, is_echo, usage_of
from cli.waits import decision_text, pause_commands, pause_text, retrying_text, wait_commands, wait_text
from studio.contracts.base import Json
from studio.contracts.events import RunEvent

LINE_CHARACTERS = 120
"""Longer lines of a model's text are broken between words."""
QUIET_LINES = frozenset({"usage"})
OF_AN_ATTEMPT = frozenset({"token", "thinking", "step.retrying"})
"""What no longer counts once a later attempt has begun: it comes from a worker that was given up."""


class PlainView:
    """One line an event; a model's text by lines, each under the name of its step."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], str] = {}
        """Text of (step, kind) that has not ended its line."""
        self._attempts: dict[str, int] = {}
        """The newest of each step."""
        self._lost = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write what has not ended its line."""
        for path, kind in list(self._open):
            self._flush(path, kind)

    def take(self, news: RunEvent | ConnectionLost) -> None:
        if isinstance(news, ConnectionLost):
            if not self._lost:
                _write("connection lost, reconnecting")
            self._lost = True
            return
        if self._lost:
            _write("connected again")
            self._lost = False
        if self._is_superseded(news):
            return
        if news.type in {"token", "thinking"}:
            self._text(news)
        elif news.type not in QUIET_LINES and not is_echo(news):
            self._state(news)

    def _is_superseded(self, event: RunEvent) -> bool:
        path = event.step_id or ""
        newest = self._attempts[path] = max(event.attempt, self._attempts.get(path, 1))
        return event.type in OF_AN_ATTEMPT and event.attempt < newest

    def _text(self, event: RunEvent) -> None:
        path = event.step_id or ""
        place = (path, event.type)
        other = (path, "thinking" if event.type == "token" else "token")
        if other in self._open:
            self._flush(*other)
        *lines, rest = (self._open.get(place, "") + str(event.data.get("text", ""))).split("\n")
        for line in lines:
            self._say(path, event.type, line)
        while len(rest) > LINE_CHARACTERS:
            cut = rest.rfind(" ", 1, LINE_CHARACTERS)
            cut = cut if cut > 0 else LINE_CHARACTERS
            self._say(path, event.type, rest[:cut])
            rest = rest[cut:].removeprefix(" ")
        self._open[place] = rest

    def _flush(self, path: str, kind: str) -> None:
        if rest := self._open.pop((path, kind), ""):
            self._say(path, kind, rest)

    def _say(self, path: str, kind: str, line: str) -> None:
        mark = "~" if kind == "thinking" else "|"
        _write(f"{path} {mark} {safe(line)}".rstrip())

    def _state(self, event: RunEvent) -> None:
        path = event.step_id
        for kind in ("thinking", "token"):
            self._flush(path or "", kind)
        _write(_line(event))


class WaitsView:
    """Only what somebody must do something about, on standard error: standard output is for data."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        return

    def take(self, news: RunEvent | ConnectionLost) -> None:
        if isinstance(news, ConnectionLost):
            return
        is_pause = news.type in {"run.paused", "run.stalled"} and not is_echo(news)
        if is_pause or (news.type == "step.waiting" and news.data.get("for") != "timer"):
            err().print(Text(_line(news)))


def _line(event: RunEvent) -> str:
    clock = event.ts.astimezone().strftime("%H:%M:%S")
    path, data = event.step_id, event.data
    match event.type:
        case "edge.taken":
            return f"{clock} {data.get('from')} -> {data.get('to')}: {safe(str(data.get('why')))}"
        case "step.waiting":
            commands = wait_commands(event.run_id, path or "", data)
            return f"{clock} {path} {wait_text(data)}{_typed(commands)}"
        case "run.stalled":
            return f"{clock} run stalled: {safe(str(data.get('message')))}"
        case "run.paused":
            return f"{clock} run {pause_text(path or '', data)}{_typed(pause_commands(event.run_id, path or '', data))}"
        case _:
            what = event.type.partition(".")[2].replace("_", " ")
            return f"{clock} {path or 'run'} {what}{_details(event)}"


def _typed(commands: list[str]) -> str:
    return f"  ({'; '.join(commands)})" if commands else ""


def _details(event: RunEvent) -> str:
    data = event.data
    match event.type:
        case "step.started":
            name = data.get("name")
            return f" ({data.get('kind')}{', ' + safe(str(name)) if name else ''})"
        case "step.retrying":
            superseded = data.get("superseded_attempt", event.attempt - 1)
            why = retrying_text(event.attempt, data)
            return f": {why}; discard what attempt {superseded} wrote above"
        case "step.skipped":
            return f" by {safe(str(data['resolved_by']))}" if "resolved_by" in data else _why_skipped(data)
        case _:
            took = f" in {duration_text(data['duration_ms'])}" if data.get("duration_ms") is not None else ""
            error = error_of(data) if event.type != "run.cancelled" else None
            if (output := decision_of(data)) is not None:
                return f": {decision_text(output)}"
            by = f", as {safe(str(data['resolved_by']))} said" if data.get("resolved_by") else ""
            return took + _spent(event) + by + (f": {error.type}: {safe(error.message)}" if error else "")


def _why_skipped(data: Mapping[str, Json]) -> str:
    if "why" in data:
        return f": {safe(str(data['why']))}"
    return f": {safe(str(data['when']))} is false" if "when" in data else ""


def _spent(event: RunEvent) -> str:
    usage = usage_of(event.data)
    if not usage.llm_calls:
        return ""
    return f", {count_text(usage.total_tokens, 'token')}, {cost_text(cost_of(event.data))}"


def _write(line: str) -> None:
    typer.echo(line)
