"""What the YAML parser finds, in the words of people who write definitions, and what to write instead."""

import re
from collections.abc import Callable

_EXPRESSION = re.compile(r"\$\{\{.*")
_COLON = re.compile(r":\s.*:(\s|$)")
_TABULATOR = ("a tabulator indents here, and YAML takes blanks alone", "indent with blanks")
_INDENTATION = (
    "the indentation does not fit what stands above",
    "the keys of one object begin in the same column, and so do the `- ` of one list",
)


def explain(problem: str, line: str) -> tuple[str, str | None]:
    """The message and the hint for the parser's words about a place; `line` is the source there."""
    if "\\t" in problem or "\t" in line[: len(line) - len(line.lstrip())]:
        return _TABULATOR
    return next((told(line) for words, told in _MESSAGES if re.search(words, problem)), (problem, None))


def _brackets(line: str) -> tuple[str, str | None]:
    if _EXPRESSION.search(line):
        return "an expression in braces or brackets of YAML is not in quotes", _quoted(line)
    if _COLON.search(line):
        return _second_colon(line)
    return "brackets or braces do not fit together here", "close what is open, or put a text with them in quotes"


def _behind(line: str) -> tuple[str, str | None]:
    if re.search(r":\s+[\"'].*[\"'].*\S", line):
        return "something stands behind a text in quotes", 'put the whole text in quotes, those inside as \\"'
    return _INDENTATION


def _always(message: str, hint: str) -> Callable[[str], tuple[str, str | None]]:
    return lambda _line: (message, hint)


def _second_colon(line: str) -> tuple[str, str | None]:
    if _EXPRESSION.search(line):
        return "an expression with `: ` in it is not in quotes", _quoted(line)
    if _COLON.search(line):
        return "a second `: ` on the line: YAML reads a key before each", "put the text behind the first in quotes"
    return _INDENTATION


def _quoted(line: str) -> str:
    quote = "'" if '"' in line else '"'
    return f"put the expression in quotes: {quote}${{{{ … }}}}{quote}"


_MESSAGES: tuple[tuple[str, Callable[[str], tuple[str, str | None]]], ...] = (
    ("mapping values are not allowed", _second_colon),
    ("expected ',' or|expected the node content", _brackets),
    (
        "unknown escape",
        _always(
            "`\\` begins an escape in double quotes, and this is none", r"write `\\` for one, or use single quotes"
        ),
    ),
    (
        "quoted scalar",
        _always("a quote does not close", "end the text with the quote that begins it; inside '…' write '' for one"),
    ),
    (
        "simple key|could not find expected ':'",
        _always("a line without `: `", "write `key: value`; a text of many lines begins with `key: |`"),
    ),
    ("expected <block end>|expected <document start>", _behind),
    (
        "sequence entries are not allowed",
        _always("a list does not begin behind its key", "begin it on the next line, each item with `- `"),
    ),
    (
        "cannot start any token|scanning an a",
        _always("a text does not begin with such a character in YAML", "put the text in quotes"),
    ),
)
"""By words of the parser's, the first that fit."""
