"""What expressions read as the status of a step, wherever it stands: the table of docs/definitions.md."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from studio.contracts.base import Json, JsonObject
from studio.engine.memory_calls import ModelReply
from studio.engine.memory_driver import MemoryRun
from tests.support.memory_runs import ask, carry, outputs, refuses, says, statuses

READ = "${{ steps.x.status }}"
PAGE = Path(__file__).parents[3] / "docs" / "definitions.md"
FIRST: JsonObject = {"id": "first", "transform": 1}
BROKEN: JsonObject = {"id": "first", "fail": {"type": "broken", "message": "before"}}


def _sequential(*steps: JsonObject) -> JsonObject:
    return {"sequential": {"steps": [*steps]}}


def _parallel(*steps: JsonObject) -> JsonObject:
    return {"parallel": {"branches": [*steps], "max_concurrency": 1}}


def _conditional(*steps: JsonObject) -> JsonObject:
    return {"conditional": {"cases": [{"when": True, "steps": [*steps]}]}}


def _route(*steps: JsonObject) -> JsonObject:
    return {"conditional": {"route": {"agent": {}, "choices": {"it": {"steps": [*steps]}}}}}


def _graph(*steps: JsonObject) -> JsonObject:
    return {"graph": {"nodes": [*steps], "edges": [{"from": "first", "to": "x"}]}}


def _loop(*steps: JsonObject) -> JsonObject:
    return {"loop": {"do": [*steps], "until": "${{ true }}"}}


def _nested(*steps: JsonObject) -> JsonObject:
    return _sequential({"id": "inner", **_conditional(*steps)})


BLOCKS: dict[str, tuple[Callable[..., JsonObject], str]] = {
    "sequential": (_sequential, "b/x"),
    "parallel": (_parallel, "b/x"),
    "conditional": (_conditional, "b/x"),
    "route": (_route, "b/x"),
    "graph": (_graph, "b/x"),
    "loop": (_loop, "b#0/x"),
    "a block in a block": (_nested, "b/inner/x"),
}
SITUATIONS: dict[str, tuple[JsonObject, JsonObject, str]] = {
    "not reached": (BROKEN, ask("x"), "skipped"),
    "its `when` was false": (FIRST, ask("x", when=False), "skipped"),
    "timed out": (FIRST, ask("x", timeout="1s"), "failed"),
    "failed and was caught": (FIRST, ask("x", on_error="continue"), "failed"),
    "succeeded in a retry": (FIRST, ask("x"), "succeeded"),
}


def run_of(kind: str, first: JsonObject, x: JsonObject, replies: list[ModelReply], **fields: Json) -> MemoryRun:
    block, path = BLOCKS[kind]
    after: JsonObject = {"id": "after", "transform": READ, "compensate": {"id": "undo", "transform": READ}}
    steps: list[JsonObject] = [
        {"id": "b", **block(first, x), "on_error": "continue", **fields},
        after,
        {"id": "boom", "fail": {"type": "broken", "message": "on purpose"}},
    ]
    told: dict[str, list[ModelReply]] = {path: replies, "b/router.choice": [says('{"choice": "it"}')]}
    return carry(*steps, replies=told, ends=[{"id": "end", "transform": READ}])


class TestAStepInABlock:
    @pytest.mark.parametrize("kind", BLOCKS)
    @pytest.mark.parametrize("situation", SITUATIONS)
    def test_it_reads_the_same_after_the_block_in_finally_and_in_compensate(self, kind: str, situation: str) -> None:
        first, x, expected = SITUATIONS[situation]
        replies = {
            "timed out": [says(after=10)],
            "failed and was caught": [refuses()],
            "succeeded in a retry": [refuses(), says()],
        }.get(situation, [says()])
        retry = {"retry": {"max_attempts": 2}} if situation == "succeeded in a retry" else {}
        run = run_of(kind, first, x, [*replies], **retry)
        read = outputs(run)
        assert [read["after"], read["end"], read["after/undo"]] == [expected] * 3
        path = BLOCKS[kind][1]
        assert statuses(run)[path] == expected
        told = [event.type for event in run.events if event.step_id == path and event.type != "usage"]
        assert told[-1] == f"step.{expected}"

    @pytest.mark.parametrize("kind", BLOCKS)
    def test_cancelled_while_it_ran(self, kind: str) -> None:
        block, path = BLOCKS[kind]
        replies = {path: [says(after=10)], "b/router.choice": [says('{"choice": "it"}')]}
        ends: list[JsonObject] = [{"id": "end", "transform": READ}]
        run = carry({"id": "b", **block(FIRST, ask("x"))}, replies=replies, cancelled_at=5, ends=ends)
        assert (run.end.status, outputs(run)["end"]) == ("cancelled", "cancelled")

    @pytest.mark.parametrize("kind", BLOCKS)
    def test_cancelled_before_it_began(self, kind: str) -> None:
        block, path = BLOCKS[kind]
        slow = ask("first")
        replies = {path.replace("/x", "/first"): [says(after=10)], "b/router.choice": [says('{"choice": "it"}')]}
        ends: list[JsonObject] = [{"id": "end", "transform": READ}]
        run = carry({"id": "b", **block(slow, ask("x"))}, replies=replies, cancelled_at=5, ends=ends)
        assert (run.end.status, outputs(run)["end"], statuses(run)[path]) == ("cancelled", "skipped", "skipped")

    @pytest.mark.parametrize("kind", BLOCKS)
    def test_its_block_was_skipped(self, kind: str) -> None:
        block, path = BLOCKS[kind]
        run = carry({"id": "b", "when": False, **block(FIRST, ask("x"))}, {"id": "end", "transform": READ})
        assert (outputs(run)["end"], statuses(run)[path]) == ("skipped", "skipped")

    def test_what_the_page_says_is_what_is_tested(self) -> None:
        rows = dict(re.findall(r"^\| ([^|]+?) \| `(\w+)` \|", PAGE.read_text(), re.MULTILINE))
        assert {name: expected for name, (_, _, expected) in SITUATIONS.items()}.items() <= rows.items()


class TestWhatWasNotReached:
    def test_a_charge_that_never_was_is_not_refunded(self) -> None:
        case: JsonObject = {"when": "${{ input.ok }}", "steps": [{"id": "charge", "transform": "charged"}]}
        refund: JsonObject = {"id": "refund", "when": "${{ steps.charge.status != 'skipped' }}", "transform": "refund"}
        run = carry(
            {"id": "c", "conditional": {"cases": [case]}},
            {"id": "boom", "transform": "${{ 1 / input.z }}"},
            given={"ok": False, "z": 0},
            ends=[refund],
        )
        assert statuses(run) == {"c": "succeeded", "c/charge": "skipped", "boom": "failed", "refund": "skipped"}
        (event,) = [event for event in run.events if event.step_id == "c/charge"]
        assert (event.type, event.data["why"]) == ("step.skipped", "it was not reached")

    def test_a_loop_without_rounds(self) -> None:
        loop: JsonObject = {"id": "l", "loop": {"do": [ask("x")], "while": "${{ false }}"}}
        run = carry(loop, {"id": "end", "transform": READ})
        assert (outputs(run)["end"], statuses(run)["l#0/x"]) == ("skipped", "skipped")

    def test_each_round_has_its_own(self) -> None:
        cases = [{"when": "${{ iteration == 1 }}", "steps": [{"id": "x", "transform": 1}]}]
        seen: JsonObject = {"id": "seen", "transform": "${{ (last == null ? [] : last) + [steps.x.status] }}"}
        loop: JsonObject = {
            "do": [{"id": "c", "conditional": {"cases": cases}}, seen],
            "until": "${{ iteration == 2 }}",
        }
        assert carry({"id": "l", "loop": loop}).end.output == ["skipped", "succeeded", "skipped"]

    def test_a_branch_that_the_winner_left_waiting(self) -> None:
        block: JsonObject = {"branches": [ask("first"), ask("x")], "join": "any", "max_concurrency": 1}
        run = carry({"id": "p", "parallel": block}, {"id": "end", "transform": READ}, replies={"p/first": [says()]})
        assert (outputs(run)["end"], statuses(run)["p/x"]) == ("skipped", "skipped")

    def test_items_that_the_winner_left_waiting(self) -> None:
        block: JsonObject = {"for_each": [1, 2, 3], "do": ask("x"), "join": "any", "max_concurrency": 1}
        run = carry({"id": "p", "parallel": block}, replies={"p/x[0]": [says()]})
        assert statuses(run) == {"p": "succeeded", "p/x[0]": "succeeded", "p/x[1]": "skipped", "p/x[2]": "skipped"}

    def test_what_catches_an_error_sees_the_rest_of_the_block(self) -> None:
        catch: JsonObject = {"catch": "all", "steps": [{"id": "seen", "transform": READ}]}
        run = carry({"id": "b", **_sequential(BROKEN, ask("x")), "on_error": [catch]})
        assert outputs(run)["b/seen"] == "skipped"

    def test_a_retried_block_has_the_statuses_of_its_last_attempt(self) -> None:
        flaky = ask("first")
        cases = [{"when": "${{ steps.first.output == 'again' }}", "steps": [ask("x"), BROKEN | {"id": "bad"}]}]
        block = _sequential(flaky, {"id": "c", "conditional": {"cases": cases}})
        replies = {"b/first": [says("again"), says("fine")], "b/c/x": [says()]}
        run = carry(
            {"id": "b", **block, "retry": {"max_attempts": 2}}, {"id": "end", "transform": READ}, replies=replies
        )
        assert (run.end.output, statuses(run)["b/c/x"]) == ("skipped", "skipped")

    def test_in_finally_what_stands_behind_a_failed_step(self) -> None:
        ends: list[JsonObject] = [BROKEN, {"id": "x", "transform": 1}]
        assert statuses(carry({"id": "a", "transform": 1}, ends=ends)) == {
            "a": "succeeded",
            "first": "failed",
            "x": "skipped",
        }

    def test_no_run_lists_more_than_two_thousand(self) -> None:
        many: list[JsonObject] = [{"id": f"n{number}", "transform": 1} for number in range(50)]
        case = {"when": False, "steps": many}
        block: JsonObject = {"for_each": list(range(60)), "do": {"id": "c", "conditional": {"cases": [case]}}}
        run = carry({"id": "m", "parallel": block})
        assert [step.status for step in run.end.progress.steps].count("skipped") == 2_000


class TestAGraph:
    def test_a_merge_sees_its_sibling_skipped_before_it_begins(self) -> None:
        nodes = [
            {"id": "s", "transform": 1},
            {"id": "gate", "transform": 1, "when": False},
            {"id": "x", "transform": 1},
            {"id": "other", "transform": 1},
            {"id": "merge", "transform": READ},
        ]
        edges = [("s", "gate"), ("gate", "x"), ("s", "other"), ("x", "merge"), ("other", "merge")]
        run = carry(pattern="graph", nodes=nodes, edges=[{"from": one, "to": other} for one, other in edges])
        assert run.end.output == "skipped"
        kinds = [(event.type, event.step_id) for event in run.events]
        assert kinds.index(("step.skipped", "x")) < kinds.index(("step.started", "merge"))
