"""Child workflows in virtual time. `tests/workflows/test_parity.py` compares them with Temporal's."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from studio.contracts.base import JsonObject
from studio.contracts.definitions import ResolvedDefinition, ResolvedWorkflow, parse_workflow
from studio.contracts.runs import RunError
from studio.engine.memory_calls import ModelReply
from studio.engine.memory_driver import MemoryDriver
from studio.engine.state import CancelRequested, RunFacts
from tests.support.scripted_replies import NoPrompts, ScriptedReplies

START = datetime(2026, 1, 1, tzinfo=UTC)
CALL: JsonObject = {"id": "c", "workflow": "inner"}


def ask(step_id: str, **fields: object) -> JsonObject:
    return {"id": step_id, "agent": {"message": step_id}, **fields}


def sequence(*steps: JsonObject, **fields: object) -> JsonObject:
    return {"pattern": "sequential", "steps": list(steps), **fields}


def driver_of(
    workflow: JsonObject, children: Mapping[str, JsonObject], replies: Mapping[str, Sequence[ModelReply]]
) -> MemoryDriver:
    definition = ResolvedDefinition(
        workflow=parse_workflow({"name": "test", **workflow}),
        workflows={
            name: ResolvedWorkflow(name=name, version=1, workflow=parse_workflow({"name": name, **child}))
            for name, child in children.items()
        },
    )
    asked = ScriptedReplies(replies)
    return MemoryDriver(definition, RunFacts(id="run_1"), None, replies=asked, prompts=NoPrompts(), start=START)


def refusal() -> ModelReply:
    return ModelReply(error=RunError(type="invalid_request", message="no"))


class TestPaths:
    def test_replies_are_looked_up_by_the_runs_path(self) -> None:
        inner = sequence({"id": "d", "workflow": "deep"})
        replies = {"c/d/a": [ModelReply("deep down")]}
        run = driver_of(sequence(CALL), {"inner": inner, "deep": sequence(ask("a"))}, replies).run()
        assert run.end.output == "deep down"
        assert [step.id for step in run.end.progress.steps] == ["c", "c/d", "c/d/a"]

    def test_a_step_inside_says_where_in_the_run_its_error_is(self) -> None:
        block: JsonObject = {"id": "p", "parallel": {"branches": [ask("a"), ask("b")], "on_branch_error": "collect"}}
        replies = {"c/p/a": [refusal()], "c/p/b": [ModelReply("b")]}
        run = driver_of(sequence(CALL), {"inner": sequence(block)}, replies).run()
        steps = {step.id: step for step in run.end.progress.steps}
        assert steps["c/p/a"].error == RunError(type="invalid_request", message="no", step_id="c/p/a")
        assert steps["c/p"].errors == [steps["c/p/a"].error]
        (told,) = [event.data["error"] for event in run.events if event.type == "step.failed"]
        assert told["step_id"] == "c/p/a"

    def test_edges_inside_lead_from_and_to_the_runs_paths(self) -> None:
        nodes = [{"id": "x", "transform": 1}, {"id": "y", "transform": 2}]
        inner: JsonObject = {"pattern": "graph", "nodes": nodes, "edges": [{"from": "x", "to": "y"}]}
        run = driver_of(sequence(CALL), {"inner": inner}, {}).run()
        (taken,) = [event for event in run.events if event.type == "edge.taken"]
        assert (taken.step_id, taken.data["from"], taken.data["to"]) == ("c/x", "c/x", "c/y")

    def test_of_a_child_that_is_a_choice_the_edge_starts_at_its_step(self) -> None:
        steps = [{"id": "x", "transform": 1}]
        inner: JsonObject = {"pattern": "conditional", "cases": [{"when": "${{ true }}", "steps": steps}]}
        run = driver_of(sequence(CALL), {"inner": inner}, {}).run()
        (taken,) = [event for event in run.events if event.type == "edge.taken"]
        assert (taken.step_id, taken.data["from"], taken.data["to"]) == ("c", "c", "c/x")


class TestClock:
    def test_children_side_by_side_take_as_long_as_the_longest(self) -> None:
        each = {"for_each": [1, 2, 3], "do": CALL | {"input": "${{ item }}"}}
        inner = sequence({"id": "w", "wait": {"until": "${{ '2026-01-01T0' + string(input) + ':00:00Z' }}"}})
        run = driver_of({"pattern": "parallel", **each}, {"inner": inner}, {}).run()
        assert run.end.ended_at - run.end.started_at == timedelta(hours=3)


class TestCancel:
    def test_the_parents_step_ends_when_the_child_has_cleaned_up(self) -> None:
        inner = sequence(ask("a")) | {"finally": [{"id": "f", "wait": {"for": "1m"}}]}
        driver = driver_of(sequence(CALL), {"inner": inner}, {"c/a": [ModelReply(after=timedelta(hours=1))]})
        driver.add(CancelRequested(START + timedelta(seconds=1)))
        run = driver.run()
        assert run.end.status == "cancelled"
        assert run.end.ended_at - START == timedelta(seconds=61)
        order = [(event.type, event.step_id) for event in run.events]
        assert order.index(("step.succeeded", "c/f")) < order.index(("step.cancelled", "c"))

    def test_a_child_that_is_stopped_before_it_began_does_nothing(self) -> None:
        branches = [{"id": "t", "transform": 1}, CALL]
        race: JsonObject = {"pattern": "parallel", "join": "any", "branches": branches}
        run = driver_of(race, {"inner": sequence(ask("a"))}, {}).run()
        assert {step.id: step.status for step in run.end.progress.steps} == {"t": "succeeded", "c": "cancelled"}

    def test_a_child_whose_time_is_over_ends_its_step_with_timeout(self) -> None:
        child = CALL | {"timeout": "5s"}
        inner = sequence({"id": "w", "wait": {"for": "1h"}})
        run = driver_of(sequence(child), {"inner": inner}, {}).run()
        assert run.end.error is not None
        assert (run.end.error.type, run.end.error.step_id) == ("timeout", "c")
        assert run.end.ended_at - START == timedelta(seconds=5)
