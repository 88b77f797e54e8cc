"""Runs on the pure core in virtual time. `tests/workflows/test_parity.py` compares them with Temporal's."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studio.contracts.agents import AgentSpec, PromptRef
from studio.contracts.base import Json, JsonObject, format_timestamp
from studio.contracts.definitions import ResolvedAgent, ResolvedDefinition, parse_workflow
from studio.contracts.prompts import Rendered
from studio.contracts.runs import RunError, RunUsage
from studio.engine.memory_calls import ModelReply, Prompts
from studio.engine.memory_driver import MemoryDriver, MemoryRun
from studio.engine.state import CancelRequested, RunFacts
from studio.errors import InvalidInput
from tests.support.scripted_replies import NoPrompts, ScriptedReplies

START = datetime(2026, 1, 1, tzinfo=UTC)
OK = ModelReply("ok")


def ask(step_id: str, **fields: Json) -> JsonObject:
    return {"id": step_id, "agent": "writer", "input": step_id, **fields}


def refusal(kind: str = "upstream_error", *, seconds: float = 0) -> ModelReply:
    return ModelReply(error=RunError(type=kind, message="broke"), after=timedelta(seconds=seconds))


def retrying(attempt: int, kind: str, *, seconds: float) -> JsonObject:
    due = format_timestamp(START + timedelta(seconds=seconds))
    error = {"type": kind, "message": "broke", "step_id": "a"}
    return {"superseded_attempt": attempt, "error": error, "next_attempt_at": due}


def driver_of(
    steps: Sequence[JsonObject],
    replies: ScriptedReplies,
    *,
    agent: JsonObject | None = None,
    prompts: Prompts | None = None,
    **fields: Json,
) -> MemoryDriver:
    document = {"name": "test", "pattern": "sequential", "steps": list(steps), **fields}
    writer = ResolvedAgent(name="writer", spec=AgentSpec.model_validate(agent or {}))
    definition = ResolvedDefinition(workflow=parse_workflow(document), agents={"writer": writer})
    facts = RunFacts(id="run_1", metadata={"a": "b"})
    return MemoryDriver(definition, facts, "given", replies=replies, prompts=prompts or NoPrompts(), start=START)


def run_of(*steps: JsonObject, **replies: Sequence[ModelReply]) -> MemoryRun:
    return driver_of(steps, ScriptedReplies(replies)).run()


def took(run: MemoryRun) -> timedelta:
    return run.end.ended_at - run.end.started_at


class TestClock:
    def test_it_jumps_over_what_is_waited_for(self) -> None:
        run = run_of({"id": "a", "wait": {"for": "3d"}}, {"id": "b", "wait": {"until": "2026-01-05T12:00:00Z"}})
        assert run.end.status == "succeeded"
        assert took(run) == timedelta(days=4, hours=12)

    def test_calls_side_by_side_take_as_long_as_the_longest(self) -> None:
        block: JsonObject = {"id": "p", "parallel": {"branches": [ask("a"), ask("b")]}}
        slow, slower = ModelReply("a", after=timedelta(minutes=1)), ModelReply("b", after=timedelta(minutes=2))
        run = driver_of([block], ScriptedReplies({"p/a": [slow], "p/b": [slower]})).run()
        assert run.end.output == {"a": "a", "b": "b"}
        assert took(run) == timedelta(minutes=2)

    def test_the_quicker_reply_wins_and_the_other_is_cancelled(self) -> None:
        block: JsonObject = {"id": "p", "parallel": {"join": "any", "branches": [ask("a"), ask("b")]}}
        slow, quick = ModelReply("a", after=timedelta(hours=2)), ModelReply("b", after=timedelta(hours=1))
        run = driver_of([block], ScriptedReplies({"p/a": [slow], "p/b": [quick]})).run()
        assert {step.id: step.status for step in run.end.progress.steps} == {
            "p": "succeeded",
            "p/a": "cancelled",
            "p/b": "succeeded",
        }
        assert took(run) == timedelta(hours=1)

    def test_a_step_that_is_stopped_before_it_began_makes_no_call(self) -> None:
        block: JsonObject = {
            "id": "p",
            "parallel": {"join": "any", "branches": [{"id": "t", "transform": 1}, ask("b")]},
        }
        replies = ScriptedReplies({})
        assert driver_of([block], replies).run().end.output == {"t": 1, "b": None}
        assert replies.calls == []

    def test_work_that_a_turn_leaves_is_taken_up_again(self) -> None:
        block: JsonObject = {
            "id": "p",
            "parallel": {"for_each": "${{ input.list }}", "do": {"id": "t", "transform": 1}},
        }
        document = {"name": "test", "pattern": "sequential", "steps": [block]}
        definition = ResolvedDefinition(workflow=parse_workflow(document))
        driver = MemoryDriver(
            definition,
            RunFacts(id="run_1"),
            {"list": [0] * 5000},
            replies=ScriptedReplies({}),
            prompts=NoPrompts(),
            start=START,
        )
        assert driver.run().end.output == [1] * 5000


class TestAttempts:
    def test_they_wait_longer_each_time_and_are_told(self) -> None:
        replies = ScriptedReplies({"a": [refusal(), refusal("rate_limited", seconds=1), OK]})
        retry = {"initial_interval": "2s", "backoff": 3}
        run = driver_of([ask("a", retry=retry)], replies).run()
        assert [call.attempt for call in replies.calls] == [1, 2, 3]
        assert took(run) == timedelta(seconds=2 + 1 + 6)
        told = [(event.attempt, event.data, event.ts - START) for event in run.events if event.type == "step.retrying"]
        assert told == [
            (2, retrying(1, "upstream_error", seconds=2), timedelta(seconds=0)),
            (3, retrying(2, "rate_limited", seconds=9), timedelta(seconds=3)),
        ]
        (step,) = run.end.progress.steps
        assert (step.attempt, step.usage.llm_calls) == (3, 3)

    def test_the_wait_is_at_most_the_longest(self) -> None:
        run = run_of(ask("a", retry={"max_attempts": 40, "max_interval": "1m"}), a=[refusal()])
        assert run.end.error == RunError(type="upstream_error", message="broke", step_id="a")
        assert took(run) == timedelta(seconds=1 + 2 + 4 + 8 + 16 + 32 + 33 * 60)

    def test_a_thousand_of_the_steepest_waits_are_still_numbers(self) -> None:
        run = run_of(ask("a", retry={"max_attempts": 1000, "backoff": 100}), a=[refusal()])
        assert run.end.progress.steps[0].attempt == 1000

    @pytest.mark.parametrize("kind", ["invalid_request", "prompt_error", "cancelled"])
    def test_what_another_attempt_cannot_mend_is_not_tried_again(self, kind: str) -> None:
        assert run_of(ask("a"), a=[refusal(kind)]).end.progress.steps[0].attempt == 1

    def test_what_the_step_names_is_not_tried_again(self) -> None:
        run = run_of(ask("a", retry={"non_retryable": ["rate_limited"]}), a=[refusal("rate_limited")])
        assert run.end.progress.steps[0].attempt == 1

    def test_none_begins_once_the_steps_time_would_be_over(self) -> None:
        run = run_of(ask("a", timeout="5s", retry={"initial_interval": "4s"}), a=[refusal(seconds=2)])
        assert run.end.error == RunError(type="upstream_error", message="broke", step_id="a")
        assert took(run) == timedelta(seconds=2)

    def test_one_that_is_under_way_ends_with_the_steps_time(self) -> None:
        run = run_of(ask("a", timeout="5s"), a=[refusal(seconds=2), ModelReply("late", after=timedelta(seconds=3))])
        assert run.end.error is not None
        assert (run.end.error.type, run.end.error.step_id) == ("timeout", "a")
        assert took(run) == timedelta(seconds=5)
        assert run.end.progress.steps[0].attempt == 2

    def test_usage_and_cost_of_all_are_summed(self) -> None:
        used = RunUsage(prompt_tokens=3, completion_tokens=4, total_tokens=7, llm_calls=1)
        error = RunError(type="upstream_error", message="broke")
        failed = ModelReply(error=error, usage=used, cost_usd=Decimal("0.10"))
        run = run_of(ask("a"), a=[failed, ModelReply("x", usage=used, cost_usd=Decimal("0.20"))])
        assert run.end.progress.usage.total_tokens == 14
        assert run.end.progress.cost_usd == Decimal("0.30")


class TestMessages:
    def test_the_agents_templates_are_rendered(self) -> None:
        replies = ScriptedReplies({"a": [OK]})
        agent = {"instructions": "You are {{ who }}.", "message": "Say {{ what }}."}
        driver_of([ask("a", input={"who": "a poet", "what": "no"})], replies, agent=agent).run()
        assert replies.calls[0].messages == [
            {"role": "system", "content": "You are a poet."},
            {"role": "user", "content": "Say no."},
        ]

    def test_a_variable_that_is_missing_fails_the_step_and_asks_nobody(self) -> None:
        replies = ScriptedReplies({})
        run = driver_of([ask("a", input={})], replies, agent={"message": "{{ nobody }}"}).run()
        assert run.end.error is not None
        assert (run.end.error.type, run.end.error.step_id) == ("prompt_error", "a")
        assert "nobody" in run.end.error.message
        assert replies.calls == []
        assert run.end.progress.usage.llm_calls == 0

    def test_a_stored_prompt_is_rendered_with_the_input(self) -> None:
        class Greeting:
            def render(self, prompt: PromptRef, variables: JsonObject) -> Rendered | None:
                return Rendered(text=f"{prompt.name} {variables}", content_hash="")

        replies = ScriptedReplies({"a": [OK]})
        driver_of([ask("a")], replies, agent={"prompt": {"name": "hello"}}, prompts=Greeting()).run()
        assert replies.calls[0].messages == [
            {"role": "system", "content": "hello {'input': 'a'}"},
            {"role": "user", "content": "a"},
        ]

    def test_a_stored_prompt_that_cannot_be_rendered_fails_the_step(self) -> None:
        class Broken:
            def render(self, prompt: PromptRef, variables: JsonObject) -> Rendered | None:
                raise InvalidInput("The variable 'x' is missing.")

        run = driver_of([ask("a")], ScriptedReplies({}), agent={"prompt": {"name": "hello"}}, prompts=Broken()).run()
        assert run.end.error == RunError(type="prompt_error", message="The variable 'x' is missing.", step_id="a")

    def test_a_prompt_that_is_not_known_leaves_the_user_message(self) -> None:
        replies = ScriptedReplies({"a": [OK]})
        driver_of([ask("a")], replies, agent={"prompt": {"name": "elsewhere"}}).run()
        assert replies.calls[0].messages == [{"role": "user", "content": "a"}]


class TestFromOutside:
    def test_a_cancel_stops_the_call_that_is_under_way(self) -> None:
        driver = driver_of([ask("a"), ask("b")], ScriptedReplies({"a": [ModelReply("x", after=timedelta(hours=1))]}))
        driver.add(CancelRequested(START + timedelta(seconds=3)))
        run = driver.run()
        assert run.end.status == "cancelled"
        assert [(step.id, step.status) for step in run.end.progress.steps] == [("a", "cancelled"), ("b", "skipped")]
        assert took(run) == timedelta(seconds=3)
        assert run.events[-1].type == "run.cancelled"

    def test_a_cancel_stops_what_waits_for_its_next_attempt(self) -> None:
        driver = driver_of([ask("a", retry={"initial_interval": "1h"})], ScriptedReplies({"a": [refusal()]}))
        driver.add(CancelRequested(START + timedelta(seconds=3)))
        assert driver.run().end.status == "cancelled"

    def test_one_that_comes_after_the_end_changes_nothing(self) -> None:
        driver = driver_of([ask("a")], ScriptedReplies({"a": [OK]}))
        driver.add(CancelRequested(START + timedelta(seconds=3)))
        assert driver.run().end.status == "succeeded"


SECONDS = st.integers(0, 5)


def any_reply(*, fails: bool, seconds: int) -> ModelReply:
    return refusal(seconds=seconds) if fails else ModelReply("ok", after=timedelta(seconds=seconds))


REPLIES = st.builds(any_reply, fails=st.booleans(), seconds=SECONDS)


class TestAnyScript:
    @settings(max_examples=200, deadline=None)
    @given(
        first=REPLIES, second=REPLIES, third=REPLIES, cancel=st.none() | SECONDS, join=st.sampled_from(["all", "any"])
    )
    def test_a_run_ends_and_is_the_same_again(
        self, first: ModelReply, second: ModelReply, third: ModelReply, cancel: int | None, join: str
    ) -> None:
        once = {"retry": {"max_attempts": 2}, "timeout": "4s"}
        block: JsonObject = {"id": "p", "parallel": {"join": join, "branches": [ask("a", **once), ask("b", **once)]}}

        def carry() -> MemoryRun:
            replies = ScriptedReplies({"p/a": [first, second], "p/b": [second, third], "c": [third]})
            driver = driver_of([block, ask("c", retry={"max_attempts": 1})], replies)
            if cancel is not None:
                driver.add(CancelRequested(START + timedelta(seconds=cancel)))
            return driver.run()

        run = carry()
        assert run == carry()
        assert {step.status for step in run.end.progress.steps} <= {"succeeded", "failed", "cancelled", "skipped"}
        assert [event.ts for event in run.events] == sorted(event.ts for event in run.events)
        assert run.events[-1].type == f"run.{run.end.status}"


class TestCache:
    def test_the_same_question_is_asked_once_until_its_time_is_over(self) -> None:
        step = {"input": "the same", "cache": {"ttl": "1h"}}
        pause: JsonObject = {"id": "w", "wait": {"for": "2h"}}
        run = driver_of(
            [ask("a", **step), ask("b", **step), pause, ask("c", **step)],
            ScriptedReplies({"a": [ModelReply("one")], "c": [ModelReply("two")]}),
        ).run()
        ended = {one.id: (one.output, one.cached) for one in run.end.progress.steps if one.kind == "agent"}
        assert ended == {"a": ("one", False), "b": ("one", True), "c": ("two", False)}
        assert run.end.progress.usage.llm_calls == 2
