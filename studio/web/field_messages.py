"""What Pydantic finds, in the words of people who write YAML: what is wrong at a place, and what to write instead.

The offending input is left out: it may hold a secret. What it nearly is, is told, since that is one of our own words.
"""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from studio.contracts.base import ERROR_PATTERN, IDENTIFIER_PATTERN, NAME_PATTERN
from studio.contracts.foreign_fields import FOREIGN_FIELDS
from studio.contracts.steps import WORKER_PATTERN
from studio.contracts.waits import SIGNAL_PATTERN

Loc = Sequence[str | int]

_PATTERNS = {
    NAME_PATTERN: "a name is lower-case letters, digits, `-` and `_`, at most 63, and begins with a letter or a digit",
    IDENTIFIER_PATTERN: "an id is letters, digits and `_`, at most 63, and does not begin with a digit, "
    "so that expressions can name it",
    SIGNAL_PATTERN: "a signal's name is letters, digits, `_`, `.` and `-`, at most 63, and begins with a letter or `_`",
    ERROR_PATTERN: "an error's type is lower-case letters, digits and `_`, at most 63, and begins with a letter",
    WORKER_PATTERN: "a worker's name is letters, digits, `_` and `-`, at most 63, and begins with a letter or `_`",
}
_ONE_STEP = "a step is {id: …, agent: …}, or another kind"
_FORMS = {
    "agent": "the name of an agent, or an agent written inline: {model: …, instructions: …}",
    "approval": "write {message: …}",
    "cache": "write {ttl: 1h}",
    "cases": "write a list of {when: …, steps: […]}",
    "catch": "write all, or a list of error types: [timeout]",
    "choices": "write {name: {description: …, steps: […]}}",
    "compensate": _ONE_STEP,
    "conditional": "write {cases: […]} or {route: …}",
    "edges": "write a list of {from: …, to: …}",
    "fail": "write {type: out_of_stock, message: …}",
    "graph": "write {nodes: […], edges: […]}",
    "hierarchical": "write {manager: …, workers: […]}",
    "join": "write all, any, {at_least: 2} or {quorum: 0.6}",
    "limits": "write {timeout: 10m, max_tokens: 50000}",
    "loop": "write {do: [steps], until: ${{ … }}}",
    "on_error": "write fail, continue, or a list of {catch: [types], steps: […]}",
    "parallel": "write {branches: [steps]}, or {for_each: …, do: step}",
    "prompt": "write {name: …}",
    "retry": "write {max_attempts: 3}",
    "sequential": "write {steps: […]}",
    "until": "write one whole ${{ expression }}",
    "wait": "write {for: 30s}, {until: ${{ … }}} or {signal: name}",
    "when": "write true, false or one whole ${{ expression }}",
    "while": "write one whole ${{ expression }}",
    "workers": "write a list of {name: …, agent: …}",
}
_OF_A_STEP = frozenset({"id", "when", "on_error"})
_READ_AS_WRITTEN = frozenset({
    *("string_pattern_mismatch", "literal_error", "int_parsing", "int_type", "float_parsing", "float_type"),
    *("bool_parsing", "bool_type", "list_type", "dict_type", "model_type", "model_attributes_type"),
})  # fmt: skip
"""What Pydantic finds of an expression where the value itself must stand."""
_STEP_LISTS = frozenset({"steps", "branches", "nodes", "do", "else", "finally"})


def message_of(problem: Mapping[str, Any]) -> str:
    """What is wrong there. Kinds that are not named here keep Pydantic's own words."""
    context: Mapping[str, Any] = problem.get("ctx") or {}
    told = _MESSAGES.get(problem["type"])
    return str(problem["msg"]).removeprefix("Value error, ") if told is None else told(context, problem["loc"])


def hint_of(problem: Mapping[str, Any], fields: Sequence[str]) -> str | None:  # noqa: PLR0911 - one line a kind
    """What to write instead. `fields` are those that the place has."""
    context: Mapping[str, Any] = problem.get("ctx") or {}
    given, name = problem.get("input"), str(problem["loc"][-1]) if problem["loc"] else ""
    match problem["type"]:
        case kind if kind in _READ_AS_WRITTEN - _formed(name) and isinstance(given, str) and "${{" in given:
            return "no expression is evaluated here: write the value itself"
        case "extra_forbidden":
            return (
                _foreign(name, fields)
                or _near(name, fields)
                or (f"fields here are {', '.join(fields)}" if fields else None)
            )
        case "literal_error":
            return _near(given, re.findall(r"'([^']*)'", str(context.get("expected", "")))) or _FORMS.get(name)
        case "string_pattern_mismatch" if context.get("pattern") == IDENTIFIER_PATTERN and isinstance(given, str):
            mended = re.sub(r"\W", "_", given, flags=re.ASCII)[:63]
            return f"write {mended}" if re.fullmatch(IDENTIFIER_PATTERN, mended) else None
        case "string_type" if isinstance(given, int | float) and not isinstance(given, bool) and name not in _FORMS:
            return "put it in quotes"
        case "model_type" | "dict_type" | "list_type" | "string_type":
            return _form(problem["loc"], wants_list=problem["type"] == "list_type")
        case _:
            return context.get("hint")


def _formed(name: str) -> frozenset[str]:
    """Of a field whose form is told, all but the wrong form of a name."""
    return _READ_AS_WRITTEN - {"string_pattern_mismatch"} if name in _FORMS else frozenset()


def _foreign(name: str, fields: Sequence[str]) -> str | None:
    return FOREIGN_FIELDS.get(name) if set(fields) >= _OF_A_STEP else None


def _form(loc: Loc, *, wants_list: bool) -> str | None:
    name = next((part for part in reversed(loc) if isinstance(part, str)), "")
    if name in _STEP_LISTS:
        return "write a list of steps, each begun with `- `" if wants_list else _ONE_STEP
    if loc and isinstance(loc[-1], int) and name in {"edges", "cases", "workers"}:
        return _FORMS[name].replace("write a list of", "write")
    return _FORMS.get(name)


def _near(given: Any, words: Sequence[str]) -> str | None:
    close = difflib.get_close_matches(given, words, 1) if isinstance(given, str) else []
    return f"did you mean {close[0]!r}?" if close else None


def _name(loc: Loc) -> str:
    return str(loc[-1]) if loc else "it"


_Told = Callable[[Mapping[str, Any], Loc], str]
_WHOLE: _Told = lambda _context, _loc: "must be a whole number"  # noqa: E731 - one line a kind
_NUMBER: _Told = lambda _context, _loc: "must be a number"  # noqa: E731
_BOOLEAN: _Told = lambda _context, _loc: "must be true or false"  # noqa: E731
_OBJECT: _Told = lambda _context, _loc: "must be an object, which is `key: value` pairs"  # noqa: E731
_MESSAGES: dict[str, _Told] = {
    "missing": lambda _, loc: f"`{_name(loc)}` is missing",
    "extra_forbidden": lambda _, loc: f"there is no field {_name(loc)!r} here",
    "literal_error": lambda context, _: f"must be {context['expected']}",
    "string_type": lambda _, _loc: "must be text",
    "list_type": lambda _, _loc: "must be a list",
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "dict_type": _OBJECT,
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "bool_type": _BOOLEAN,
    "bool_parsing": _BOOLEAN,
    "greater_than_equal": lambda context, _: f"must be at least {context['ge']:g}",
    "greater_than": lambda context, _: f"must be more than {context['gt']:g}",
    "less_than_equal": lambda context, _: f"must be at most {context['le']:g}",
    "less_than": lambda context, _: f"must be less than {context['lt']:g}",
    "too_short": lambda context, _: f"needs at least {context['min_length']} item",
    "too_long": lambda context, _: f"may have at most {context['max_length']} items",
    "string_too_short": lambda _, _loc: "must not be empty",
    "string_too_long": lambda context, _: f"may be at most {context['max_length']} characters long",
    "string_pattern_mismatch": lambda context, _: _PATTERNS.get(
        context["pattern"], f"must match the pattern {context['pattern']}"
    ),
}
