"""Standard CEL, subject by subject, as its specification has it; and what of its extensions is not claimed."""

from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest

from studio.cel.functions import UNCLAIMED
from studio.documents import load_documents
from studio.expressions import ExpressionError, compile_expression, evaluate

TABLE = Path(__file__).with_name("conformance.yaml")
INPUT = {"seven": 7, "half": 7.5, "big": 9223372036854775808}
DOCS = Path(__file__).parents[3] / "docs" / "expressions.md"


class Case(NamedTuple):
    subject: str
    source: str
    expected: Any


def read() -> list[Case]:
    table = cast("dict[str, list[list[Any]]]", load_documents(TABLE.read_text())[0].value)
    return [Case(subject, *row) for subject, rows in table.items() for row in rows]


CASES = read()


def run(source: str) -> Any:
    return evaluate(f"${{{{ {source}\n}}}}", {"input": INPUT})


def typed(value: Any) -> Any:
    """1, 1.0 and true are equal in Python."""
    match value:
        case list():
            return [typed(item) for item in cast("list[Any]", value)]
        case dict():
            return {key: typed(item) for key, item in cast("dict[str, Any]", value).items()}
        case _:
            return type(value), value


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.subject}: {case.source}")
def test_it_gives_what_cel_says(case: Case) -> None:
    if isinstance(case.expected, dict):
        with pytest.raises(ExpressionError) as caught:
            run(case.source)
        assert cast("dict[str, str]", case.expected)["error"] in caught.value.message
    else:
        assert typed(run(case.source)) == typed(case.expected)


def test_all_the_subjects_are_there() -> None:
    assert len(CASES) > 270
    assert {"strings", "whole numbers", "doubles", "timestamps", "durations", "lists", "maps"} <= {
        case.subject for case in CASES
    }


class TestNotClaimed:
    @pytest.mark.parametrize("name", sorted(UNCLAIMED))
    def test_a_function_of_an_extension_is_refused_with_what_to_write(self, name: str) -> None:
        for source in (f"input.x.{name}('a')", f"{name}(input.x)"):
            with pytest.raises(ExpressionError) as caught:
                compile_expression(source)
            assert f"there is no function {name!r}" in caught.value.message
            assert caught.value.hint

    def test_the_page_lists_each(self) -> None:
        page = DOCS.read_text()
        assert [name for name in UNCLAIMED if f"`{name}`" not in page] == []

    @pytest.mark.parametrize(
        "source", ["input.?x", "[?input.x]", "google.protobuf.Int32Value{value: 1}", "input.`a-b`", "x.y::z"]
    )
    def test_syntax_of_an_extension_is_refused(self, source: str) -> None:
        with pytest.raises(ExpressionError):
            compile_expression(source)
