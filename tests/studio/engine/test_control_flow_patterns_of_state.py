"""The workflow control-flow patterns (docs/control-flow-patterns.md): instances, state, cancelling, iteration, the end
of a run and what triggers a step.
"""

from datetime import timedelta

import pytest

from studio.contracts.base import Json
from studio.contracts.interaction import Decision
from studio.engine.state import (
    ApprovalDecided,
    CancelRequested,
    RunChild,
    SignalReceived,
    StepCancelled,
    StepSucceeded,
    TimerFired,
)
from tests.studio.engine.test_control_flow_patterns import run_pattern, status, succeeded, visits
from tests.studio.engine.test_patterns import answer, cancelled
from tests.studio.engine.test_scheduler import Run


def signal(run: Run, name: str, payload: Json = None) -> None:
    run.feed(SignalReceived(run.at, name, payload))


def stop_all(run: Run) -> None:
    """What was told to stop has stopped."""
    for path in cancelled(run):
        run.feed(StepCancelled(run.at, path))


def children(run: Run) -> list[RunChild]:
    return [command for command in run.seen if isinstance(command, RunChild)]


class TestMultipleInstances:
    def test_wcp_12_multiple_instances_without_synchronization(self) -> None:
        run = run_pattern(12)
        answer(run, "g/fine", ["x", "y"])
        assert set(run.waiting()) == {"g/letters/letter[0]", "g/letters/letter[1]", "g/next"}
        answer(run, "g/next")
        assert status(run, "g/next") == "succeeded"
        answer(run, "g/letters/letter[1]")
        answer(run, "g/letters/letter[0]")
        assert succeeded(run)

    def test_wcp_13_multiple_instances_with_a_priori_design_time_knowledge(self) -> None:
        run = run_pattern(13)
        assert run.waiting() == [f"signatures/sign[{index}]" for index in range(3)]
        for index in (2, 0, 1):
            assert "publish" not in run.started()
            answer(run, f"signatures/sign[{index}]")
        assert run.started()[-1] == "publish"

    @pytest.mark.parametrize("count", [0, 1, 5])
    def test_wcp_14_multiple_instances_with_a_priori_run_time_knowledge(self, count: int) -> None:
        run = run_pattern(14)
        answer(run, "plan", list(range(count)))
        for index in range(count):
            assert len(run.waiting()) == count - index
            answer(run, f"work/task[{index}]")
        assert run.started()[-1] == "after"

    def test_wcp_15_multiple_instances_without_a_priori_run_time_knowledge(self) -> None:
        first = run_pattern(15)
        assert first.waiting() == ["beside/task", "beside/grow/ask"]
        answer(first, "beside/grow/ask", "one more")
        assert [child.workflow for child in children(first)] == ["shipment"]
        second = run_pattern(15)
        assert status(first, "beside/task") == status(second, "beside/task") == "running"
        answer(second, "beside/grow/ask", "enough")
        answer(first, "beside/task", "one")
        assert not first.ends
        answer(second, "beside/task", "two")
        first.feed(StepSucceeded(first.at, children(first)[0].path, second.ends[0].output))
        assert first.ends[0].output == ["one", "two"]

    def test_wcp_35_cancelling_partial_join_for_multiple_instances(self) -> None:
        run = run_pattern(35)
        answer(run, "samples", [1, 2, 3, 4])
        answer(run, "tests/test[3]")
        assert cancelled(run) == []
        answer(run, "tests/test[1]")
        assert cancelled(run) == ["tests/test[0]", "tests/test[2]"]
        stop_all(run)
        assert run.started()[-1] == "after"


class TestState:
    @pytest.mark.parametrize(
        ("event", "taken"), [("agreed", "order"), ("refused", "haggle"), ("wait:first/too_late", "remind")]
    )
    def test_wcp_16_deferred_choice(self, event: str, taken: str) -> None:
        run = run_pattern(16)
        assert run.started() == []
        if event.startswith("wait:"):
            run.feed(TimerFired(run.at + timedelta(days=1), event))
        else:
            signal(run, event)
        assert run.started() == [f"then/{taken}"]
        withdrawn = [path for path, step in run.state.steps.items() if step.status == "cancelled"]
        assert len(withdrawn) == 2
        signal(run, "agreed")
        signal(run, "refused")
        assert run.started() == [f"then/{taken}"]

    @pytest.mark.parametrize("asked", [["pick", "pack", "bill"], ["pick", "bill", "pack"], ["bill", "pick", "pack"]])
    def test_wcp_17_interleaved_parallel_routing(self, asked: list[str]) -> None:
        run = run_pattern(17)
        for name in ["pack", *(name for name in asked for _ in range(2))]:
            signal(run, "next", name)
        for round_, name in enumerate(asked):
            (path,) = run.waiting()
            assert path.endswith(f"/one/{name}"), round_
            answer(run, path)
        assert run.waiting() == ["send"]

    def test_wcp_18_milestone(self) -> None:
        early, during, late = run_pattern(18), run_pattern(18), run_pattern(18)
        answer(early, "g/ask")
        assert early.waiting() == ["g/pay"]
        answer(early, "g/pay")
        assert early.waiting() == ["g/issue", "g/change"]
        answer(during, "g/pay")
        assert set(during.waiting()) == {"g/ask", "g/issue"}
        answer(during, "g/ask")
        assert during.waiting() == ["g/issue", "g/change"]
        for run in (early, during):
            answer(run, "g/change")
            assert run.waiting() == ["g/issue"]
            answer(run, "g/issue")
            assert succeeded(run)
        answer(late, "g/pay")
        answer(late, "g/issue")
        assert status(late, "g/change") == "skipped"
        answer(late, "g/ask")
        assert "g/change" not in late.started()
        assert succeeded(late)

    @pytest.mark.parametrize("order", [["engine", "brakes", "lights"], ["lights", "engine", "brakes"]])
    def test_wcp_40_interleaved_routing(self, order: list[Json]) -> None:
        run = run_pattern(40)
        answer(run, "order", order)
        for index, name in enumerate(order):
            assert run.waiting() == [f"checks/check[{index}]/{name}"]
            answer(run, f"checks/check[{index}]/{name}")
        assert run.waiting() == ["after"]


class TestCancellation:
    def test_wcp_19_cancel_task(self) -> None:
        before = run_pattern(19)
        signal(before, "withdraw")
        assert before.started() == ["after"]
        assert status(before, "race/booking") == "cancelled"
        during = run_pattern(19)
        during.feed(TimerFired(during.at + timedelta(hours=1), "wait:race/booking/cool_off"))
        signal(during, "withdraw")
        assert cancelled(during) == ["race/booking/book"]
        stop_all(during)
        assert during.waiting() == ["after"]

    def test_wcp_20_cancel_case(self) -> None:
        run = run_pattern(20)
        run.feed(CancelRequested(run.at))
        assert cancelled(run) == ["both/a"]
        assert not run.ends
        stop_all(run)
        assert [end.status for end in run.ends] == ["cancelled"]
        assert {status(run, path) for path in ("both", "both/a", "both/b")} == {"cancelled"}
        assert "after" not in run.started()

    def test_wcp_26_cancel_multiple_instance_task(self) -> None:
        run = run_pattern(26)
        answer(run, "race/proteins/test[1]", "seen")
        signal(run, "cancel")
        assert cancelled(run) == ["race/proteins/test[0]", "race/proteins/test[2]"]
        stop_all(run)
        assert run.state.steps["race/proteins/test[1]"].output == "seen"
        assert "report" not in run.started()
        assert succeeded(run)
        undisturbed = run_pattern(26)
        for index in range(3):
            answer(undisturbed, f"race/proteins/test[{index}]")
        assert undisturbed.waiting() == ["report"]

    def test_wcp_27_complete_multiple_instance_task(self) -> None:
        run = run_pattern(27)
        answer(run, "proteins/test[1]", "seen")
        run.feed(TimerFired(run.at + timedelta(hours=1), "join:proteins"))
        assert cancelled(run) == ["proteins/test[0]", "proteins/test[2]"]
        stop_all(run)
        assert status(run, "proteins") == "succeeded"
        assert run.state.steps["proteins"].output == [None, "seen", None]
        assert run.waiting() == ["report"]


class TestIteration:
    @pytest.mark.parametrize("entry", ["plan", "build"])
    @pytest.mark.parametrize("exit_", ["drop", "ship"])
    def test_wcp_10_arbitrary_cycles(self, entry: str, exit_: str) -> None:
        run = run_pattern(10)
        answer(run, "g/open", {"plan": "new", "build": "known"}[entry])
        at = entry
        for _ in range(4):
            answer(run, run.waiting()[0], {"plan": "go", "build": "again"}[at])
            at = {"plan": "build", "build": "plan"}[at]
        if at == {"drop": "build", "ship": "plan"}[exit_]:
            answer(run, run.waiting()[0], {"plan": "go", "build": "again"}[at])
        answer(run, run.waiting()[0], {"drop": "no", "ship": "done"}[exit_])
        assert run.waiting() == [f"g/{exit_}"]
        assert visits(run, "g/plan") + visits(run, "g/build") >= 5
        answer(run, f"g/{exit_}")
        assert succeeded(run)

    def test_wcp_21_structured_loop(self) -> None:
        run = run_pattern(21)
        for round_, said in enumerate(["more", "more", "enough"]):
            assert run.waiting() == [f"before#{round_}/ask"]
            answer(run, f"before#{round_}/ask", said)
        for round_, said in enumerate(["more", "enough"]):
            assert run.waiting() == [f"after#{round_}/tell"]
            answer(run, f"after#{round_}/tell", said)
        assert succeeded(run)

    def test_wcp_22_recursion(self) -> None:
        def play(number: int) -> Json:
            run = run_pattern(22, {"n": number})
            for child in children(run):
                assert child.workflow == "countdown"
                assert child.input == {"n": number - 1}
                run.feed(StepSucceeded(run.at, child.path, play(number - 1)))
            (end,) = run.ends
            return end.output

        assert play(3) == [3, 2, 1, 0]


class TestTermination:
    @pytest.mark.parametrize(("said", "left"), [("go", ["g/b", "g/c"]), ("stay", ["g/c"])])
    def test_wcp_11_implicit_termination(self, said: str, left: list[str]) -> None:
        run = run_pattern(11)
        answer(run, "g/a", said)
        for path in left:
            assert not run.ends
            answer(run, path)
        assert succeeded(run)

    def test_wcp_43_explicit_termination(self) -> None:
        run = run_pattern(43)
        answer(run, "case/rest/remind")
        assert not run.ends
        answer(run, "case/way/decide")
        assert set(run.waiting()) == {"case/rest/watch", "case/way/the_end"}
        answer(run, "case/way/the_end")
        assert cancelled(run) == ["case/rest/watch"]
        stop_all(run)
        assert succeeded(run)


class TestTrigger:
    def test_wcp_23_transient_trigger(self) -> None:
        run = run_pattern(23)
        yes = Decision(decision="approve", by="ann")
        run.feed(ApprovalDecided(run.at, "start", yes))
        answer(run, "work")
        assert run.started() == ["work"]
        assert status(run, "start") == "waiting"
        run.feed(ApprovalDecided(run.at, "start", yes))
        assert run.waiting() == ["go"]

    def test_wcp_24_persistent_trigger(self) -> None:
        early = run_pattern(24)
        signal(early, "overdue")
        assert early.started() == ["work"]
        answer(early, "work")
        assert early.waiting() == ["go"]
        late = run_pattern(24)
        answer(late, "work")
        assert status(late, "inspect") == "waiting"
        signal(late, "overdue")
        assert late.waiting() == ["go"]
