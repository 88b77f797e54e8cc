"""Two languages that swallow each other: `${{ }}` moves data between steps, `{{ }}` makes text of a step's input."""

import re
from collections.abc import Collection, Iterator
from typing import cast

from studio.contracts.base import Json, JsonObject
from studio.engine.plan import Loc
from studio.errors import FieldError
from studio.expressions import OPEN

_TEMPLATE = re.compile(r"\{\{-?\s*[A-Za-z_][^{}]*\}\}")
_YES, _NO = frozenset({"yes", "on", "y"}), frozenset({"no", "off", "n"})
_SCHEMAS = frozenset({"input_schema", "output_schema"})
_TEMPLATES = frozenset({"instructions", "message"})
NOT_HERE = "no expression is evaluated here"


def has_template(text: str) -> bool:
    """Whether a text that is no template holds `{{ name }}`; `${{ name }}` is an expression."""
    return _TEMPLATE.search(text) is not None


def misplaced_expressions(document: Json, evaluated: Collection[Loc] = (), loc: Loc = ()) -> Iterator[FieldError]:
    """`${{` where none is evaluated. Schemas, descriptions of documents and templates are left to others."""
    if loc in evaluated or loc == ("description",):
        return
    match document:
        case str() if OPEN in document:
            place = str(next((part for part in reversed(loc) if isinstance(part, str)), ""))
            message = f"{NOT_HERE}: `{place}` is taken as it is written"
            yield FieldError(loc=list(loc), msg=message, type="no_expression", hint="write the value itself")
        case dict():
            for key, value in cast("JsonObject", document).items():
                if key not in _SCHEMAS and not (key in _TEMPLATES and isinstance(value, str)):
                    yield from misplaced_expressions(value, evaluated, (*loc, key))
        case list():
            for index, value in enumerate(cast("list[Json]", document)):
                yield from misplaced_expressions(value, evaluated, (*loc, index))
        case _:
            pass


def condition_hint(condition: str) -> str:
    """What to write for a condition that is no expression."""
    text = condition.strip()
    if text.lower() in _YES | _NO:
        return f"write {'true' if text.lower() in _YES else 'false'}"
    if OPEN in text:
        return "one expression alone, nothing around it"
    if text.startswith("{{") and text.endswith("}}"):
        text = text[2:-2].strip()
    return f"write ${{{{ {text} }}}}"
