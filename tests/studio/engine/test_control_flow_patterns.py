"""The workflow control-flow patterns (docs/control-flow-patterns.md): branching, synchronising, and the table itself.

Each test demands what the pattern's definition does of the definition that the page shows.
"""

import re
from pathlib import Path

import pytest

from studio.contracts.base import Json
from studio.contracts.runs import StepStatus
from studio.engine.state import CancelStep, RunAgent, StepCancelled
from tests.studio.engine.test_patterns import answer, cancelled
from tests.studio.engine.test_scheduler import Run
from tests.support.patterns_page import plan_of_pattern, rows, snippets


def run_pattern(number: int, value: Json = None) -> Run:
    return Run(plan_of_pattern(number), value)


def status(run: Run, path: str) -> StepStatus:
    return run.state.steps[path].status


def visits(run: Run, path: str) -> int:
    return sum(1 for started in run.started() if started.partition("@")[0] == path)


def succeeded(run: Run) -> bool:
    return [end.status for end in run.ends] == ["succeeded"]


class TestTable:
    def test_it_has_the_43_patterns_in_order(self) -> None:
        assert [row.number for row in rows()] == list(range(1, 44))

    def test_each_that_is_supported_names_a_test_that_is_there_and_none_else_has_one(self) -> None:
        here = "".join(path.read_text() for path in Path(__file__).parent.glob("test_control_flow_patterns*.py"))
        named = {row.test for row in rows() if row.supported == "yes"}
        assert named == set(re.findall(r"def (test_wcp_\w+)", here))
        assert {row.test for row in rows() if row.supported != "yes"} == {""}

    def test_each_that_is_supported_is_written_out_under_its_own_number(self) -> None:
        supported = {row.number: row.test for row in rows() if row.supported == "yes"}
        assert snippets().keys() == supported.keys()
        assert all(test.startswith(f"test_wcp_{number:02d}_") for number, test in supported.items())

    def test_its_sums_are_right(self) -> None:
        page = Path(__file__).parents[3] / "docs" / "control-flow-patterns.md"
        sums = [sum(row.supported == word for row in rows()) for word in ("yes", "partly", "no")]
        assert "Fully supported: {} of 43; {} in part, {} not.".format(*sums) in page.read_text()


class TestBasicControlFlow:
    def test_wcp_01_sequence(self) -> None:
        run = run_pattern(1)
        assert run.started() == ["a"]
        answer(run, "a")
        assert run.started() == ["a", "b"]
        answer(run, "b")
        assert succeeded(run)

    def test_wcp_02_parallel_split(self) -> None:
        run = run_pattern(2)
        assert run.started() == ["g/a"]
        answer(run, "g/a")
        assert run.waiting() == ["g/b", "g/c"]

    def test_wcp_03_synchronization(self) -> None:
        run = run_pattern(3)
        answer(run, "both/b")
        assert "after" not in run.started()
        answer(run, "both/a")
        assert run.started()[-1] == "after"

    @pytest.mark.parametrize(("output", "taken"), [(1000, "large"), (100, "medium"), (1, "small")])
    def test_wcp_04_exclusive_choice(self, output: int, taken: str) -> None:
        run = run_pattern(4)
        answer(run, "sort", output)
        assert run.started() == ["sort", f"choice/{taken}"]

    @pytest.mark.parametrize("taken", ["cash", "card"])
    def test_wcp_05_simple_merge(self, taken: str) -> None:
        run = run_pattern(5)
        answer(run, "g/sort", taken)
        answer(run, f"g/{taken}")
        assert run.started() == ["g/sort", f"g/{taken}", "g/ship"]
        answer(run, "g/ship")
        assert succeeded(run)


class TestAdvancedBranching:
    @pytest.mark.parametrize("chosen", [["fire"], ["police", "doctor"], ["police", "fire", "doctor"]])
    def test_wcp_06_multi_choice(self, chosen: list[Json]) -> None:
        run = run_pattern(6)
        answer(run, "g/call", chosen)
        assert run.waiting() == [f"g/{name}" for name in chosen]

    @pytest.mark.parametrize("chosen", [[], ["fire"], ["police", "doctor"], ["police", "fire", "doctor"]])
    def test_wcp_07_structured_synchronizing_merge(self, chosen: list[Json]) -> None:
        run = run_pattern(7)
        answer(run, "call", chosen)
        for name in chosen:
            assert "report" not in run.started()
            answer(run, f"send/{name}")
        assert run.started()[-1] == "report"

    def test_wcp_09_structured_discriminator(self) -> None:
        run = run_pattern(9)
        for around, first, second in (("twice#0/g", "pulse", "breath"), ("twice#1/g", "breath", "pulse")):
            answer(run, f"{around}/arrest")
            answer(run, f"{around}/{first}")
            assert run.started()[-1] == f"{around}/triage"
            assert run.waiting() == [f"{around}/{second}", f"{around}/triage"]
            answer(run, f"{around}/triage")
            assert not run.ends
            answer(run, f"{around}/{second}")
            assert visits(run, f"{around}/triage") == 1
        assert cancelled(run) == []
        assert succeeded(run)

    @pytest.mark.parametrize("last", ["done", "nothing"])
    def test_wcp_28_blocking_discriminator(self, last: str) -> None:
        run = run_pattern(28)
        answer(run, "g/open")
        answer(run, "g/smoke", "more")
        answer(run, "g/alarm")
        answer(run, "g/smoke@1", "more")
        answer(run, "g/smoke@2")
        assert run.waiting() == ["g/heat"]
        answer(run, "g/heat", last)
        assert run.waiting() == ["g/alarm@1"]
        answer(run, "g/alarm@1")
        assert run.waiting() == ["g/alarm@2"]
        answer(run, "g/alarm@2")
        assert succeeded(run)

    def test_wcp_29_cancelling_discriminator(self) -> None:
        run = run_pattern(29)
        answer(run, "first/b")
        assert cancelled(run) == ["first/a", "first/c"]
        for path in cancelled(run):
            run.feed(StepCancelled(run.at, path))
        assert run.started()[-1] == "after"
        answer(run, "after")
        assert succeeded(run)
        assert run.started().count("after") == 1

    def test_wcp_30_structured_partial_join(self) -> None:
        run = run_pattern(30)
        answer(run, "g/send")
        answer(run, "g/z")
        assert "g/go_on" not in run.started()
        answer(run, "g/x")
        assert run.started()[-1] == "g/go_on"
        answer(run, "g/go_on")
        assert run.waiting() == ["g/y"]
        answer(run, "g/y")
        assert visits(run, "g/go_on") == 1
        assert succeeded(run)

    @pytest.mark.parametrize("last", ["done", "nothing"])
    def test_wcp_31_blocking_partial_join(self, last: str) -> None:
        run = run_pattern(31)
        answer(run, "g/send")
        answer(run, "g/x", "more")
        assert visits(run, "g/decide") == 0
        answer(run, "g/y", "more")
        answer(run, "g/decide")
        answer(run, "g/x@1")
        answer(run, "g/y@1")
        assert run.waiting() == ["g/z"]
        answer(run, "g/z", last)
        assert run.waiting() == ["g/decide@1"]
        answer(run, "g/decide@1")
        assert visits(run, "g/decide") == 2
        assert succeeded(run)

    def test_wcp_32_cancelling_partial_join(self) -> None:
        run = run_pattern(32)
        answer(run, "dealers/c")
        assert cancelled(run) == []
        answer(run, "dealers/a")
        assert cancelled(run) == ["dealers/b"]
        run.feed(StepCancelled(run.at, "dealers/b"))
        assert run.started()[-1] == "after"

    def test_wcp_33_generalised_and_join(self) -> None:
        run = run_pattern(33)
        answer(run, "g/order")
        answer(run, "g/bottle", "more")
        answer(run, "g/bottle@1")
        assert visits(run, "g/seal") == 0
        answer(run, "g/cork", "more")
        assert visits(run, "g/seal") == 1
        answer(run, "g/seal")
        assert visits(run, "g/seal") == 1
        answer(run, "g/cork@1")
        assert visits(run, "g/seal") == 2
        answer(run, "g/seal@1")
        assert succeeded(run)

    @pytest.mark.parametrize(
        ("chosen", "then", "before_d"),
        [
            (["d"], "", []),
            (["b"], "", ["b"]),
            (["b"], "c too", ["b", "c"]),
            (["b", "c"], "c too", ["b", "c"]),
            (["c", "d"], "", ["c"]),
            (["b", "c", "d"], "", ["b", "c"]),
        ],
    )
    def test_wcp_37_local_synchronizing_merge(self, chosen: list[Json], then: str, before_d: list[str]) -> None:
        run = run_pattern(37)
        answer(run, "g/a", chosen)
        for name in before_d:
            assert visits(run, "g/d") == 0
            answer(run, f"g/{name}", then if name == "b" else "done")
        assert run.started()[-1] == "g/d"
        answer(run, "g/d")
        assert visits(run, "g/d") == 1
        assert succeeded(run)

    def test_wcp_38_general_synchronizing_merge(self) -> None:
        run = run_pattern(38)
        answer(run, "g/open")
        answer(run, "g/invoice")
        answer(run, "g/check", "broken")
        answer(run, "g/repair")
        assert run.waiting() == ["g/check@1"]
        answer(run, "g/check@1", "broken")
        assert visits(run, "g/close") == 0
        answer(run, "g/repair@1")
        answer(run, "g/check@2", "lost")
        assert run.waiting() == ["g/scrap", "g/close"]
        asked = [command for command in run.seen if isinstance(command, RunAgent) and command.path == "g/close"]
        assert [command.input for command in asked] == ["done"]
        assert not [command for command in run.seen if isinstance(command, CancelStep)]
