"""From what a model's call gave to what its step gives: the same on every driver."""

import json
import re

from studio.contracts.base import Json
from studio.contracts.runs import RunError
from studio.engine.state import RunAgent

CUT = "length"
"""The `finish_reason` of an answer that reached `max_tokens`."""
_MARKS = re.compile(r'\\.|["{}]', re.DOTALL)


def output_of(command: RunAgent, text: str, finish_reason: str | None) -> Json | RunError:
    """The step's output: the text, or the JSON object in it when one was asked for. An answer without one is taken as
    the text that it is, unless the model stopped since it may not write more.
    """
    if command.output_schema is None:
        return text
    output = parse_answer(text)
    if finish_reason == CUT and isinstance(output, str):
        message = "The answer was cut at max_tokens before its JSON was complete: allow more, or ask for less."
        return RunError(type="schema_mismatch", message=message)
    return output


def parse_answer(text: str) -> Json:
    """The first JSON object in an answer, whatever stands around it; the text when there is none. An object inside one
    that is broken, or was cut, is only a part of what was said: it is not the answer.
    """
    decoder = json.JSONDecoder()
    start = text.find("{")
    while start >= 0:
        try:
            return decoder.raw_decode(text, start)[0]
        except ValueError:
            start = text.find("{", _behind(text, start))
        except RecursionError:
            break
    return text


def _behind(text: str, start: int) -> int:
    """Where the braces that open at `start` are closed; the text's end when they are not. Braces in quotes are text."""
    depth, is_quoted = 0, False
    for mark in _MARKS.finditer(text, start):
        match mark.group():
            case '"':
                is_quoted = not is_quoted
            case "{" if not is_quoted:
                depth += 1
            case "}" if not is_quoted:
                depth -= 1
                if depth == 0:
                    return mark.end()
            case _:
                pass
    return len(text)


def call_timeout(which: str) -> RunError:
    """The error of a call that took longer than the timeout of this name, `schedule-to-close` and the like."""
    return RunError(type="timeout", message=f"The step's call ran into its {which} timeout.")
