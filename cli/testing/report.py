"""How the cases went, as people read it."""

import difflib
from collections.abc import Sequence
from itertools import groupby

from rich.text import Text

from cli.output import count_text, duration_text, out, safe
from cli.testing.checking import Failure
from cli.testing.running import CaseResult
from studio.contracts.base import Json
from studio.document_writer import dump_document

_MOST_LINES = 40
_HEADS = ("--- ", "+++ ", "@@ ")
_DIFF_STYLES = {"-": "red", "+": "green"}


def print_results(results: Sequence[CaseResult]) -> None:
    console = out()
    for file, cases in groupby(results, lambda result: result.file):
        console.print(Text(file, "bold"))
        for result in cases:
            _print_case(result)
    failed = sum(not result.passed for result in results)
    counts = f"{count_text(len(results), 'case')}: {len(results) - failed} passed"
    console.print(Text(f"{counts}, {failed} failed" if failed else counts, "red" if failed else "green"))


def _print_case(result: CaseResult) -> None:
    mark, style = ("✓", "green") if result.passed else ("✗", "red")
    took = f"  {duration_text(result.duration_ms)}" if result.duration_ms else ""
    out().print(Text.assemble("  ", (mark, style), f" {safe(result.name)}", (took, "dim")))
    for failure in result.failures:
        for line in _lines(failure):
            out().print(line)


def _lines(failure: Failure) -> list[Text]:
    head = f"      {failure.what}: {failure.message}" if failure.message else f"      {failure.what}"
    lines = [Text(safe(head), "red")]
    if failure.expected is None and failure.actual is None:
        return lines
    expected, actual = _texts(failure.expected, failure.actual)
    if len(expected) == len(actual) == 1:
        return [*lines, Text(f"        expected  {expected[0]}"), Text(f"        came      {actual[0]}")]
    if type(failure.expected) is not type(failure.actual):
        for head, values in (("expected", expected), ("came", actual)):
            lines += [Text(f"        {head}"), *(Text(f"          {line}") for line in values[:_MOST_LINES])]
        return lines
    lines.append(Text("        - expected, + came", "dim"))
    diff = [line for line in difflib.unified_diff(expected, actual, n=2, lineterm="") if not line.startswith(_HEADS)]
    lines += [Text(f"        {line}", _DIFF_STYLES.get(line[0], "")) for line in diff[:_MOST_LINES]]
    if len(diff) > _MOST_LINES:
        lines.append(Text(f"        … {len(diff) - _MOST_LINES} more lines", "dim"))
    return lines


def _texts(*values: Json) -> list[list[str]]:
    """The lines of each; a text beside something else is quoted, so that it is seen to be one."""
    if all(isinstance(value, str) for value in values):
        return [safe(value).split("\n") for value in values]
    return [safe(dump_document(value)).rstrip("\n").split("\n") for value in values]
