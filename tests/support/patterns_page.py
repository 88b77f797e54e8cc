"""`docs/control-flow-patterns.md`: its table and the definitions below it, which the tests run."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from studio.contracts.base import JsonObject
from studio.contracts.definitions import parse_workflow
from studio.documents import load_documents
from studio.engine.checks import check_workflow
from studio.engine.plan import Plan, compile_plan

_PAGE = Path(__file__).parents[2] / "docs" / "control-flow-patterns.md"
_ROW = re.compile(r"\| (\d+) \| ([^|]+) \| (yes|partly|no) \| ([^|]+) \| ([^|]*)\|")
_SNIPPET = re.compile(r"^### (\d+)\. .*?^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Row:
    number: int
    supported: str
    test: str


def rows() -> list[Row]:
    """Of the table, in its order."""
    found = [match for line in _PAGE.read_text().splitlines() if (match := _ROW.match(line))]
    return [Row(int(match[1]), match[3], match[5].strip(" `")) for match in found]


def snippets() -> dict[int, JsonObject]:
    """By the pattern's number: a workflow without `name` and `pattern`."""
    found = cast("list[tuple[str, str]]", _SNIPPET.findall(_PAGE.read_text()))
    return {int(number): cast("JsonObject", load_documents(text)[0].value) for number, text in found}


def plan_of_pattern(number: int) -> Plan:
    """What the page says for the pattern, checked as it is when a workflow is stored."""
    workflow = parse_workflow({"name": "test", "pattern": "sequential", **snippets()[number]})
    errors = check_workflow(workflow)
    assert errors == []
    return compile_plan(workflow)
