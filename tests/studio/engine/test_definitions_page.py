"""The YAML of docs/definitions.md is what it says it is."""

import re
from pathlib import Path
from typing import cast

import pytest

from studio.contracts.base import JsonObject
from studio.contracts.definitions import parse_workflow
from studio.documents import load_documents
from studio.engine.checks import check_workflow

PAGE = Path(__file__).parents[3] / "docs" / "definitions.md"
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.mark.parametrize("text", BLOCKS)
def test_it_belongs_into_a_workflow(text: str) -> None:
    """A list is steps of one, and a mapping is other fields of one."""
    shown = load_documents(text)[0].value
    steps: list[JsonObject] = [{"id": name, "transform": {"questions": []}} for name in ("plan", "draft")]
    fields: JsonObject = {}
    if isinstance(shown, list):
        steps += cast("list[JsonObject]", shown)
    else:
        fields = cast("JsonObject", shown)
    assert check_workflow(parse_workflow({"name": "page", "pattern": "sequential", "steps": steps, **fields})) == []


def test_there_are_some() -> None:
    assert len(BLOCKS) >= 4
