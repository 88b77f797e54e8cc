"""What an answer gives: the object in it, its text, or an error."""

import time

import pytest

from studio.contracts.agents import AgentSpec
from studio.contracts.base import Json, JsonObject
from studio.contracts.definitions import parse_workflow
from studio.contracts.runs import RunError
from studio.engine.answers import output_of, parse_answer
from studio.engine.plan import Plan, compile_plan
from studio.engine.state import RunAgent
from tests.studio.engine.test_requests import done
from tests.studio.engine.test_scheduler import Run

CUT_DELEGATION = '{"delegate": [{"worker": "reader", "task": "read"}, {"worker": "wri'


def asked(schema: JsonObject | None) -> RunAgent:
    return RunAgent(path="a", name="a", agent=AgentSpec(), output_schema=schema)


class TestParseAnswer:
    @pytest.mark.parametrize(
        ("text", "found"),
        [
            pytest.param('{"a": 1}', {"a": 1}, id="the object alone"),
            pytest.param('Here: {"a": {"b": "}"}} and {"c": 2}', {"a": {"b": "}"}}, id="the first of two"),
            pytest.param('Use {braces}: {"a": 1}', {"a": 1}, id="behind braces that are no JSON"),
            pytest.param('Say {"it": \'}\'} or {"a": 1}', {"a": 1}, id="behind an object that is broken"),
            pytest.param("no object", "no object", id="none"),
            pytest.param(CUT_DELEGATION, CUT_DELEGATION, id="one that was cut, with a whole one inside"),
            pytest.param('{"a": "\\" {}', '{"a": "\\" {}', id="one that was cut in a text with quotes and braces"),
            pytest.param('{x {"a": 1} y}', '{x {"a": 1} y}', id="one inside braces that are no JSON"),
        ],
    )
    def test_it_is_the_first_whole_object(self, text: str, found: Json) -> None:
        assert parse_answer(text) == found

    def test_many_open_braces_take_no_time(self) -> None:
        assert parse_answer("{" * 500_000) == "{" * 500_000

    @pytest.mark.parametrize(("levels", "is_read"), [(499, True), (500, False), (900, False)])
    def test_how_deep_it_is_read_does_not_depend_on_who_asks(self, levels: int, is_read: bool) -> None:
        text = '{"a": ' + "[" * levels + '"]"' + "]" * levels + "}"
        assert (parse_answer(text) != text) is is_read
        assert (_at_depth(300, text) != text) is is_read

    @pytest.mark.parametrize(("piece", "times"), [("{a}", 60_000), ("</think>", 200_000)])
    def test_many_of_a_kind_take_no_time(self, piece: str, times: int) -> None:
        text = piece * times
        begin = time.perf_counter()
        assert parse_answer(text) == text
        assert time.perf_counter() - begin < 6  # a second; ten or more when each piece looks at all the others


class TestCutAnswer:
    def test_one_that_should_be_json_fails_and_says_why(self) -> None:
        failed = output_of(asked({"type": "object"}), CUT_DELEGATION, "length")
        assert isinstance(failed, RunError)
        assert failed.type == "schema_mismatch"
        assert "max_tokens" in failed.message

    def test_one_whose_object_is_whole_is_taken(self) -> None:
        assert output_of(asked({"type": "object"}), '{"a": 1} and so', "length") == {"a": 1}

    def test_a_text_is_taken_as_far_as_it_goes(self) -> None:
        assert output_of(asked(None), "Once upon", "length") == "Once upon"

    def test_one_that_was_not_cut_is_taken_as_text(self) -> None:
        assert output_of(asked({"type": "object"}), "left", "stop") == "left"


def team() -> Plan:
    fields = {"manager": "boss", "workers": [{"name": "w", "agent": "hand"}]}
    return compile_plan(parse_workflow({"name": "x", "pattern": "hierarchical", **fields}))


class TestManagersAnswer:
    @pytest.mark.parametrize(
        "answer", [{}, {"delegate": []}, {"plan": "think"}, {"answer": None}], ids=["empty", "nobody", "other", "null"]
    )
    def test_an_object_with_neither_answer_nor_delegation_is_none(self, answer: JsonObject) -> None:
        run = Run(team(), "task")
        done(run, "manager.round-1", answer)
        assert run.ends[0].error is not None
        assert (run.ends[0].error.type, run.ends[0].error.step_id) == ("schema_mismatch", "manager.round-1")

    def test_a_text_is_the_answer(self) -> None:
        run = Run(team(), "task")
        done(run, "manager.round-1", "It is done.")
        assert run.ends[0].output == "It is done."


def _at_depth(calls: int, text: str) -> Json:
    return parse_answer(text) if calls == 0 else _at_depth(calls - 1, text)
