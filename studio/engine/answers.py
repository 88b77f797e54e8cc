"""From what a model's call gave to what its step gives: the same on every driver."""

import contextlib
import json
import re
from collections.abc import Iterator
from datetime import timedelta

from studio.contracts.base import Json
from studio.contracts.durations import format_duration
from studio.contracts.runs import RunError
from studio.engine.state import RunAgent

CUT = "length"
"""The `finish_reason` of an answer that reached `max_tokens`."""
_THINKS, _THOUGHT = "<think>", "</think>"
_NO_SPACE = re.compile(r"\S")
_MARKS = re.compile(r'\\.|["{}[\]]', re.DOTALL)
_DEEPEST = 500
"""Levels that are read. Python's reader stops somewhere below a thousand, and where depends on who calls it."""


def output_of(command: RunAgent, text: str, finish_reason: str | None) -> Json | RunError:
    """The step's output: the text, or the JSON object in it when one was asked for. An answer without one is taken as
    the text that it is, unless the model stopped since it may not write more.
    """
    if command.output_schema is None:
        return text
    output = text if command.is_choice and _is_divided(text) else parse_answer(text)
    if finish_reason == CUT and isinstance(output, str):
        message = "The answer was cut at max_tokens before its JSON was complete: allow more, or ask for less."
        return RunError(type="schema_mismatch", message=message)
    return output


def parse_answer(text: str) -> Json:
    """The first JSON object in an answer, whatever stands around it; the text when there is none. An object inside one
    that is broken, or was cut, is only a part of what was said: it is not the answer. Nor is one that the model only
    thought of.
    """
    return next(_objects(without_thoughts(text)), text)


def without_thoughts(text: str) -> str:
    """An answer without the reasoning in front of it, `<think>…</think>`; some models leave the first mark out. Empty
    when the model never came to an end with it.
    """
    start = _behind_space(text, 0)
    while not text.startswith("{", start):
        end = text.find(_THOUGHT, start)
        if end < 0:
            return "" if text.startswith(_THINKS, start) else text[start:]
        start = _behind_space(text, end + len(_THOUGHT))
    return text[start:]


def _behind_space(text: str, start: int) -> int:
    found = _NO_SPACE.search(text, start)
    return found.start() if found else len(text)


def _is_divided(text: str) -> bool:
    """Whether objects in an answer say different things."""
    objects = _objects(without_thoughts(text))
    first = next(objects, None)
    return any(other != first for other in objects)


def _objects(text: str) -> Iterator[Json]:
    """The whole JSON objects in a text, those inside others left out."""
    decoder = json.JSONDecoder()
    start = text.find("{")
    while start >= 0:
        end, levels = _behind(text, start)
        if levels > _DEEPEST:
            return
        with contextlib.suppress(ValueError):
            yield decoder.decode(text[start:end])  # alone: an error counts the lines before it
        start = text.find("{", end)


def _behind(text: str, start: int) -> tuple[int, int]:
    """Where the braces that open at `start` are closed, the text's end when they are not, and how many levels are
    inside. What is in quotes is text.
    """
    depth = level = deepest = 0
    is_quoted = False
    for mark in _MARKS.finditer(text, start):
        match mark.group():
            case '"':
                is_quoted = not is_quoted
            case "{" | "[" as opening if not is_quoted:
                depth += opening == "{"
                level += 1
                deepest = max(deepest, level)
            case "}" | "]" as closing if not is_quoted:
                depth -= closing == "}"
                level -= 1
                if depth == 0:
                    return mark.end(), deepest
            case _:
                pass
    return len(text), deepest


def step_timeout(limit: timedelta) -> RunError:
    """The error of a step that took longer than its own `timeout`."""
    return RunError(type="timeout", message=f"The step did not end within its timeout, {format_duration(limit)}.")
