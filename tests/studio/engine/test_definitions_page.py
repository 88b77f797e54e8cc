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
def test_its_steps_are_steps(text: str) -> None:
    steps = cast("list[JsonObject]", load_documents(text)[0].value)
    before: list[JsonObject] = [{"id": name, "transform": {"questions": []}} for name in ("plan", "draft")]
    workflow = parse_workflow({"name": "page", "pattern": "sequential", "steps": [*before, *steps]})
    assert check_workflow(workflow) == []


def test_there_are_some() -> None:
    assert len(BLOCKS) >= 4
