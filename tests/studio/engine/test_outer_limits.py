"""Limits of tokens and cost also bound the child workflows inside, in virtual time."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal

import pytest

from studio.contracts.base import JsonObject
from studio.contracts.runs import OuterLimits, RunError, RunUsage
from studio.contracts.waits import Limits
from studio.engine.memory_calls import ModelReply
from studio.engine.memory_driver import MemoryDriver, MemoryRun, RunStalled
from studio.engine.state import LimitsChanged, OuterLimitsChanged, Publish, ResumeRequested, StepSucceeded
from tests.studio.engine.test_memory_children import CALL, START, ask, driver_of, sequence
from tests.studio.engine.test_scheduler import Run, plan_of

INNER = sequence(ask("one"), ask("two"))


def reply(tokens: int, *, cost: str | None = None, seconds: float = 0) -> ModelReply:
    usage = RunUsage(total_tokens=tokens, llm_calls=1)
    return ModelReply("ok", None, timedelta(seconds=seconds), usage, None if cost is None else Decimal(cost))


def driver(*steps: JsonObject, limits: JsonObject, inner: JsonObject = INNER, **more: JsonObject) -> MemoryDriver:
    return driver_of(sequence(*steps, limits=limits), {"inner": inner, **more}, ten_each())


def ten_each() -> Mapping[str, Sequence[ModelReply]]:
    """Every answer costs ten tokens and one cent."""
    return defaultdict(lambda: [reply(10, cost="0.01")])


def statuses(run: MemoryRun) -> dict[str, str]:
    return {step.id: step.status for step in run.end.progress.steps}


def pauses(run: MemoryRun) -> list[tuple[str | None, object, object]]:
    return [
        (event.step_id, event.data.get("limit"), event.data.get("limit_of"))
        for event in run.events
        if event.type == "run.paused"
    ]


class TestFail:
    @pytest.mark.parametrize("limit", [{"max_tokens": 20}, {"max_cost_usd": 0.02}])
    def test_what_was_used_before_the_child_counts_inside(self, limit: JsonObject) -> None:
        run = driver(ask("a"), CALL, limits={**limit, "on_exceeded": "fail"}).run()
        assert statuses(run) == {"a": "succeeded", "c": "failed", "c/one": "succeeded", "c/two": "skipped"}
        ((name, most),) = limit.items()
        message = f"The run's limit is reached: {name}, {most}."
        assert run.end.error == RunError(type="limit_exceeded", message=message)
        assert run.end.progress.usage.total_tokens == 20

    @pytest.mark.parametrize(
        "around",
        [
            sequence(CALL, on_failure="pause"),
            sequence(CALL | {"on_error": "continue"}),
            sequence(CALL | {"on_error": [{"catch": "all", "steps": [{"id": "t", "transform": 1}]}]}),
            sequence({"id": "p", "parallel": {"branches": [CALL], "on_branch_error": "collect"}}),
        ],
    )
    def test_nothing_around_the_child_deals_with_it(self, around: JsonObject) -> None:
        limits: JsonObject = {"max_tokens": 10, "on_exceeded": "fail"}
        run = driver_of(around | {"limits": limits}, {"inner": INNER}, ten_each()).run()
        assert run.end.status == "failed"
        assert run.end.error == RunError(type="limit_exceeded", message="The run's limit is reached: max_tokens, 10.")

    def test_nor_does_a_workflow_in_between(self) -> None:
        middle = sequence({"id": "d", "workflow": "deep", "on_error": "continue"}, limits={"max_tokens": 500})
        run = driver(CALL, limits={"max_tokens": 10, "on_exceeded": "fail"}, inner=middle, deep=INNER).run()
        assert (run.end.status, statuses(run)["c"]) == ("failed", "failed")

    def test_the_error_says_whose_limit_it_is(self) -> None:
        middle = sequence({"id": "d", "workflow": "deep"}, limits={"max_tokens": 10, "on_exceeded": "fail"})
        run = driver(CALL, limits={"max_tokens": 500}, inner=middle, deep=INNER).run()
        (step,) = [step for step in run.end.progress.steps if step.id == "c/d"]
        assert step.error is not None
        assert step.error.message == "The limit of the workflow at 'c' is reached: max_tokens, 10."

    def test_what_is_used_between_counts_for_the_children_of_children(self) -> None:
        middle = sequence(ask("before"), {"id": "d", "workflow": "deep"})
        run = driver(CALL, limits={"max_tokens": 20, "on_exceeded": "fail"}, inner=middle, deep=INNER).run()
        assert statuses(run)["c/d/one"] == "succeeded"
        assert statuses(run)["c/d/two"] == "skipped"

    def test_a_childs_own_limit_that_is_nearer_decides(self) -> None:
        inner = INNER | {"limits": {"max_tokens": 10, "on_exceeded": "fail"}}
        run = driver(CALL, limits={"max_tokens": 1000}, inner=inner).run()
        assert statuses(run)["c/two"] == "skipped"
        assert run.end.status == "failed"

    def test_steps_of_children_do_not_count_for_max_steps(self) -> None:
        assert driver(CALL, limits={"max_steps": 1, "on_exceeded": "fail"}).run().end.status == "succeeded"

    @pytest.mark.parametrize("place", ["finally", "compensate"])
    def test_a_child_that_cleans_up_is_exempt(self, place: str) -> None:
        clean: JsonObject = {"id": "clean", "workflow": "inner"}
        step = ask("a", compensate=clean) if place == "compensate" else ask("a")
        fields = {"finally": [clean]} if place == "finally" else {}
        limits: JsonObject = {"max_tokens": 10, "on_exceeded": "fail"}
        workflow = sequence(step, ask("b"), limits=limits, **fields)
        found = statuses(driver_of(workflow, {"inner": INNER}, ten_each()).run())
        assert found["b"] == "skipped"
        assert [status for path, status in found.items() if path.endswith("clean/two")] == ["succeeded"]


class TestPause:
    def test_a_child_that_reaches_the_runs_limit_says_whose_it_is(self) -> None:
        stalled = driver(ask("a"), CALL, limits={"max_tokens": 20})
        with pytest.raises(RunStalled, match="c is paused, since a limit is reached: max_tokens, 20, and holds back"):
            stalled.run()

    def test_raising_it_lets_children_of_children_go_on(self) -> None:
        middle = sequence({"id": "d", "workflow": "deep"}, ask("after"))
        going = driver(CALL, limits={"max_tokens": 10}, inner=middle, deep=INNER)
        going.add(LimitsChanged(START + timedelta(seconds=1), Limits(max_tokens=20)))
        going.add(ResumeRequested(START + timedelta(seconds=2)))
        going.add(LimitsChanged(START + timedelta(seconds=3), Limits(max_tokens=None)))
        going.add(ResumeRequested(START + timedelta(seconds=4)))
        run = going.run()
        assert run.end.status == "succeeded"
        assert pauses(run) == [("c/d", "max_tokens, 10", ""), ("c", "max_tokens, 20", "")]
        assert run.end.progress.usage.total_tokens == 30

    def test_a_limit_in_between_is_named_by_its_step(self) -> None:
        run = Run(plan_of([ask("a"), ask("b")]))
        run.feed(OuterLimitsChanged(run.at, [OuterLimits(path="c", limits=Limits(max_tokens=20), tokens=10)]))
        run.feed(StepSucceeded(run.at, "a", usage=RunUsage(total_tokens=10), output=1))
        (paused,) = [one.event.data for one in run.seen if isinstance(one, Publish) and one.event.type == "run.paused"]
        assert (paused["limit"], paused["limit_of"]) == ("max_tokens, 20", "c")

    def test_lowering_it_holds_a_child_back_that_is_under_way(self) -> None:
        going = driver_of(
            sequence(CALL, limits={"max_tokens": 1000}), {"inner": INNER}, {"c/one": [reply(10, seconds=5)]}
        )
        going.add(LimitsChanged(START + timedelta(seconds=1), Limits(max_tokens=10, on_exceeded="fail")))
        assert statuses(going.run()) == {"c": "failed", "c/one": "succeeded", "c/two": "skipped"}
