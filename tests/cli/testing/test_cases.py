"""What a case may say: replies, moments and expectations."""

from typing import Any

import orjson
import pytest

from tests.cli.testing.conftest import Offline

ASK = """\
kind: workflow
name: it
pattern: sequential
steps:
  - {id: ask, agent: {message: go}}
"""
MAP = """\
kind: workflow
name: it
pattern: sequential
steps:
  - id: map
    parallel: {for_each: [a, b, c], do: {id: one, agent: {}}}
"""
LOOP = """\
kind: workflow
name: it
pattern: sequential
steps:
  - id: refine
    loop: {do: [{id: critic, agent: {message: judge}}], until: "${{ last == 'good' }}"}
"""
TYPED = ASK.replace("}}", "}, output_schema: {type: object}}")
TEAM = """\
kind: workflow
name: it
pattern: sequential
steps:
  - id: t
    hierarchical: {manager: {}, workers: [{name: reader, agent: {}}], input: plan}
  - id: c
    conditional: {route: {agent: {}, choices: {left: {steps: [{id: l, transform: L}]}}}}
"""


def case(**fields: Any) -> str:
    """A test file's document; JSON is YAML."""
    return orjson.dumps({"name": "it", **fields}).decode() + "\n"


def only(results: list[dict[str, Any]]) -> dict[str, Any]:
    (result,) = results
    return result


def passes(studio: Offline, definition: str, **fields: Any) -> None:
    result = only(studio.case(definition, case(**fields)))
    assert result["passed"], result["failures"]


def failures(studio: Offline, definition: str, **fields: Any) -> list[dict[str, Any]]:
    result = only(studio.case(definition, case(**fields)))
    assert not result["passed"]
    return result["failures"]


class TestReplies:
    def test_a_list_answers_call_by_call(self, studio: Offline) -> None:
        passes(studio, MAP, replies={"map/one[*]": ["A", "B", "C"]}, expect={"output": ["A", "B", "C"]})

    def test_a_reply_alone_answers_every_call(self, studio: Offline) -> None:
        passes(studio, MAP, replies={"*": "x"}, expect={"output": ["x", "x", "x"]})

    def test_the_key_that_says_most_counts(self, studio: Offline) -> None:
        replies = {"*": "any", "map/*": "inside", "map/one[1]": "second"}
        assert failures(studio, MAP, replies=replies, expect={"output": ["inside", "second", "inside"]}) == [
            {
                "what": "replies",
                "message": "'*' answered no call. Calls came from: map/one[0], map/one[1], map/one[2]",
                "expected": None,
                "actual": None,
            }
        ]

    def test_rounds(self, studio: Offline) -> None:
        replies = {"refine#*/critic": ["bad", "bad", "good"]}
        passes(studio, LOOP, replies=replies, expect={"usage": {"llm_calls": 3}})

    def test_an_object_is_a_structured_answer(self, studio: Offline) -> None:
        passes(studio, TYPED, replies={"ask": {"answer": 1}}, expect={"output": {"answer": 1}})
        passes(studio, TYPED, replies={"ask": {"output": {"text": 1}}}, expect={"output": {"text": 1}})

    def test_what_is_asked_for_as_json_may_come_as_text(self, studio: Offline) -> None:
        passes(studio, TYPED, replies={"ask": 'Here: {"a": 1}.'}, expect={"output": {"a": 1}})
        passes(studio, TYPED, replies={"ask": "no object"}, expect={"error": {"type": "schema_mismatch"}})

    def test_an_answer_that_was_cut(self, studio: Offline) -> None:
        error = {"type": "schema_mismatch", "step_id": "ask", "message": "cut at max_tokens"}
        passes(studio, TYPED, replies={"ask": {"text": '{"a', "finish_reason": "length"}}, expect={"error": error})

    def test_managers_workers_and_routers_by_their_paths(self, studio: Offline) -> None:
        replies = {
            "t/manager.round-1": {"delegate": [{"worker": "reader", "task": "read"}]},
            "t/worker.reader-*": "seen",
            "t/manager.round-2": {"answer": "done"},
            "c/router.choice": {"choice": "left"},
        }
        passes(studio, TEAM, replies=replies, expect={"output": "L"})

    def test_failures_before_the_answer(self, studio: Offline) -> None:
        replies = {"ask": [{"error": {"type": "rate_limited"}, "times": 3}, "fine"]}
        passes(studio, ASK, replies=replies, expect={"output": "fine", "steps": {"ask": {"attempt": 4}}})

    def test_times_alone(self, studio: Offline) -> None:
        (failure,) = failures(studio, MAP, replies={"*": {"text": "x", "times": 2}})
        assert failure["what"] == "replies"
        assert "once more than '*' has replies, 2" in failure["message"]

    def test_a_call_without_a_reply(self, studio: Offline) -> None:
        (failure,) = failures(studio, ASK)
        assert failure["message"] == "ask asked the model and has no reply. It asked: go"

    def test_replies_that_nobody_asked_for(self, studio: Offline) -> None:
        (failure,) = failures(studio, ASK, replies={"ask": ["one", "two", "three"]})
        assert failure["message"] == "'ask' has 3 replies and 1 were asked for"

    def test_a_key_without_the_round_says_what_calls_there_were(self, studio: Offline) -> None:
        found = failures(studio, LOOP, replies={"refine/critic": "good", "*": "good"})
        assert "Calls came from: refine#0/critic" in found[0]["message"]

    def test_a_near_miss_gets_a_hint(self, studio: Offline) -> None:
        studio.write("it.yaml", MAP)
        studio.write("it.test.yaml", case(replies={"map/oen[*]": "x"}))
        assert "hint: did you mean 'map/one'?" in studio("it.yaml").err

    def test_usage_and_cost(self, studio: Offline) -> None:
        used = {"prompt_tokens": 3, "completion_tokens": 4}
        replies = {
            "ask": [{"error": {"type": "timeout"}, "usage": used, "cost_usd": 0.1}, {"text": "x", "usage": used}]
        }
        passes(studio, ASK, replies=replies, expect={"usage": {"total_tokens": 14, "llm_calls": 2}, "cost_usd": "0.10"})


class TestMoments:
    def test_the_clock(self, studio: Offline) -> None:
        until = "steps: [{id: w, wait: {until: 2030-01-01T00:00:10Z}}]\n"
        result = only(
            studio.case(ASK.partition("steps")[0] + until, case(clock="2030-01-01T00:00:00Z")),
        )
        assert (result["passed"], result["duration_ms"]) == (True, 10_000)

    def test_a_cancel(self, studio: Offline) -> None:
        replies = {"ask": {"text": "late", "after": "1m"}}
        passes(studio, ASK, replies=replies, cancel_after="5s", expect={"status": "cancelled"})

    def test_a_timeout(self, studio: Offline) -> None:
        slow = ASK.replace("}}", "}, timeout: 5s}")
        replies = {"ask": {"text": "late", "after": "1m"}}
        passes(studio, slow, replies=replies, expect={"error": {"type": "timeout", "step_id": "ask"}})

    def test_what_expressions_see_of_the_run(self, studio: Offline) -> None:
        seen = "steps: [{id: r, transform: '${{ [run.session_id, run.user_id, run.metadata.a] }}'}]\n"
        fields = {"session_id": "s", "user_id": "u", "metadata": {"a": "b"}}
        passes(studio, ASK.partition("steps")[0] + seen, **fields, expect={"output": ["s", "u", "b"]})

    def test_an_input_that_the_api_would_refuse(self, studio: Offline) -> None:
        schema = "input_schema: {type: object, properties: {n: {type: integer}}}\n"
        (failure,) = failures(studio, ASK + schema, input={"n": "x"}, replies={"ask": "x"})
        assert (failure["what"], failure["message"]) == (
            "input/n",
            'The API would refuse it: "x" is not of type "integer"',
        )


class TestExpectations:
    def test_a_run_must_succeed_unless_told_otherwise(self, studio: Offline) -> None:
        replies = {"ask": {"error": {"type": "invalid_request", "message": "no"}}}
        (failure,) = failures(studio, ASK, replies=replies)
        assert failure == {
            "what": "status",
            "message": "invalid_request at ask: no",
            "expected": "succeeded",
            "actual": "failed",
        }
        passes(studio, ASK, replies=replies, expect={"status": "failed"})
        passes(studio, ASK, replies=replies, expect={"error": {"step_id": "ask", "message": "no"}})

    @pytest.mark.parametrize(
        ("expect", "what"),
        [
            ({"status": "failed"}, "status"),
            ({"output": "other"}, "output"),
            ({"output": None}, "output"),
            ({"error": {"type": "timeout"}}, "error"),
            ({"path": ["ask", "more"]}, "path"),
            ({"steps": {"ask": {"status": "failed"}}}, "steps.ask.status"),
            ({"steps": {"ask": {"output": 1}}}, "steps.ask.output"),
            ({"steps": {"ask": {"attempt": 2}}}, "steps.ask.attempt"),
            ({"steps": {"nowhere": {}}}, "steps.nowhere"),
            ({"cost_usd": 1}, "cost_usd"),
            ({"usage": {"llm_calls": 2}}, "usage.llm_calls"),
            ({"events": [{"type": "step.succeeded"}, {"type": "step.started"}]}, "events[1]"),
            ({"events": [{"type": "step.succeeded", "step_id": "other"}]}, "events[0]"),
            ({"events": [{"type": "step.succeeded", "data": {"output": "no"}}]}, "events[0]"),
        ],
    )
    def test_each_can_fail(self, studio: Offline, expect: dict[str, Any], what: str) -> None:
        found = failures(studio, ASK, replies={"ask": "x"}, expect=expect)
        assert [failure["what"] for failure in found] == [what]

    def test_an_errors_fields_can_fail(self, studio: Offline) -> None:
        replies = {"ask": {"error": {"type": "invalid_request", "message": "no"}}}
        expect = {"error": {"type": "timeout", "step_id": "other", "message": "yes"}}
        found = failures(studio, ASK, replies=replies, expect=expect)
        assert [failure["what"] for failure in found] == ["error.type", "error.step_id", "error.message"]

    def test_true_is_not_one(self, studio: Offline) -> None:
        workflow = ASK.partition("steps")[0] + "steps: [{id: t, transform: [true, {a: 1}]}]\n"
        passes(studio, workflow, expect={"output": [True, {"a": 1}]})
        failures(studio, workflow, expect={"output": [1, {"a": 1}]})
        failures(studio, workflow, expect={"output": [True, {"a": True}]})

    def test_events_hold_at_least_the_data_named(self, studio: Offline) -> None:
        events = [
            {"type": "run.started"},
            {"type": "step.succeeded", "step_id": "ask", "attempt": 1, "data": {"usage": {"llm_calls": 1}}},
            {"type": "run.succeeded", "step_id": None, "data": {"output": "x"}},
        ]
        passes(studio, ASK, replies={"ask": "x"}, expect={"events": events})
