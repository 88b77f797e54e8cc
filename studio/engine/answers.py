"""From what a model's call gave to what its step gives: the same on every driver."""

import json

from studio.contracts.base import Json
from studio.contracts.runs import RunError
from studio.engine.state import RunAgent


def output_of(command: RunAgent, text: str) -> Json:
    """The step's output: the text, or the JSON object in it when one was asked for."""
    return text if command.output_schema is None else parse_answer(text)


def parse_answer(text: str) -> Json:
    """The first JSON object in an answer, whatever stands around it; the text when there is none."""
    decoder = json.JSONDecoder()
    start = text.find("{")
    while start >= 0:
        try:
            return decoder.raw_decode(text, start)[0]
        except ValueError:
            start = text.find("{", start + 1)
        except RecursionError:
            break
    return text


def call_timeout(which: str) -> RunError:
    """The error of a call that took longer than the timeout of this name, `schedule-to-close` and the like."""
    return RunError(type="timeout", message=f"The step's call ran into its {which} timeout.")
