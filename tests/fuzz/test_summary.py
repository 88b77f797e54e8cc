"""What the summary says, and when all is well."""

from dataclasses import replace
from typing import Any

import pytest

from studio.contracts.base import JsonObject
from tests.fuzz.summary import Counts, report

DOCUMENT: JsonObject = {
    "paths": {"/a": {"get": {"responses": {"200": {"links": {"get_b": {}}}}}, "post": {"responses": {}}}},
}
ANSWERS = {"GET /a": {"200": 3, "404": 1}, "POST /a": {"422": 2}}
REFUSALS = {"GET /a": {"no such thing": 1}, "POST /a": {"body: rare": 1, "body: frequent": 9}}


def _counts(**more: Any) -> Counts:
    counts = Counts(
        answers=ANSWERS, refusals=REFUSALS, links={"get_b": 4}, inferred={"x": 1}, sequences=2, failures=0, errors=0
    )
    return replace(counts, **more)


class TestReport:
    def test_says_what_was_called_and_what_never_succeeded_and_why(self) -> None:
        lines, well = report("api", DOCUMENT, _counts(), 12.3)
        assert well
        figures = "api: 6 cases on 2 of 2 operations in 12 s: 0 failures, 0 errors; "
        links = "2 sequences that followed a link 5 times, 1 of the document's 1 links and 1 more"
        assert lines == [figures + links, "  never succeeded: POST /a: body: frequent"]

    @pytest.mark.parametrize("wrong", [{"failures": 1}, {"errors": 1}, {"answers": {"GET /a": {"200": 1}}}])
    def test_failures_errors_and_operations_that_were_not_called_are_not_well(self, wrong: dict[str, Any]) -> None:
        assert not report("api", DOCUMENT, _counts(**wrong), 1)[1]


def test_two_counts_are_added() -> None:
    both = _counts().plus(_counts(answers={"POST /a": {"422": 1, "201": 1}}, failures=1))
    assert both.answers == {"GET /a": {"200": 3, "404": 1}, "POST /a": {"422": 3, "201": 1}}
    assert both.links == {"get_b": 8}
    assert (both.sequences, both.failures, both.errors) == (4, 1, 0)
