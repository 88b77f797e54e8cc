import pytest

from studio.contracts.base import Json, JsonObject
from studio.contracts.definitions import parse_workflow
from studio.engine.checks import check_workflow
from studio.engine.warnings import workflow_warnings
from tests.studio.engine.test_checks import case, loop, one, side


def warned(*steps: JsonObject, **fields: object) -> list[tuple[str, str]]:
    """Pointer and type of each warning of a workflow that has no errors."""
    document = {"name": "test", "pattern": "sequential", "steps": list(steps), **fields}
    workflow = parse_workflow(document)
    assert check_workflow(workflow) == []
    return [("/" + "/".join(map(str, found.loc)), found.type) for found in workflow_warnings(workflow)]


def asks(step_id: str = "ask", **fields: object) -> JsonObject:
    return {"id": step_id, "agent": "writer", **fields}


def each(step: JsonObject, for_each: object = "${{ input.list }}", **fields: object) -> JsonObject:
    return {"id": "map", "parallel": {"for_each": for_each, "do": step, **fields}}


def catching(*catches: object) -> JsonObject:
    clauses = [{"catch": catch, "steps": [one(f"h{number}")]} for number, catch in enumerate(catches)]
    return asks(on_error=clauses)


def approval(**fields: object) -> JsonObject:
    return {"id": "approve", "approval": {"message": "May I?", **fields}}


def graph(*edges: JsonObject, **fields: object) -> JsonObject:
    nodes = [one("a"), one("b", **fields)]
    return {"id": "g", "graph": {"nodes": nodes, "edges": list(edges), "start": "a"}}


def escalated(**escalation: Json) -> JsonObject:
    return approval(timeout="30m", on_timeout="escalate", escalation=escalation)


TEAM: JsonObject = {"id": "team", "hierarchical": {"manager": "m", "workers": [{"name": "w", "agent": "w"}]}}
INPUT: JsonObject = {
    "type": "object",
    "properties": {"rows": {"type": "array", "maxItems": 5}, "list": {"type": "array"}},
}


class TestWarnings:
    @pytest.mark.parametrize(
        ("step", "expected"),
        [
            (one(when=False), ("/steps/0/when", "never_runs")),
            (one(when="${{ 1 > 2 }}"), ("/steps/0/when", "never_runs")),
            (one(when="${{ true }}"), ("/steps/0/when", "constant_condition")),
            (one(retry={"max_attempts": 2}), ("/steps/0/retry", "unused_field")),
            (one(timeout="1m"), ("/steps/0/timeout", "unused_field")),
            (asks(retry={"initial_interval": "1m", "max_interval": "1s"}), ("/steps/0/retry", "unused_field")),
            (asks(timeout="2h"), ("/steps/0/timeout", "beyond_run")),
            ({"id": "w", "wait": {"for": "2h"}}, ("/steps/0/wait/for", "beyond_run")),
            ({"id": "w", "wait": {"signal": "go", "timeout": "2h"}}, ("/steps/0/wait/timeout", "beyond_run")),
            (approval(timeout="2h"), ("/steps/0/approval/timeout", "beyond_run")),
            (approval(on_timeout="approve"), ("/steps/0/approval/on_timeout", "unused_field")),
            (
                escalated(to="boss", on_timeout="reject"),
                ("/steps/0/approval/escalation/on_timeout", "unused_field"),
            ),
            (escalated(to="boss", timeout="50m"), ("/steps/0/approval/escalation/timeout", "beyond_run")),
            (approval() | {"retry": {"max_attempts": 2}}, ("/steps/0/retry", "unused_field")),
            (catching("all", ["timeout"]), ("/steps/0/on_error/1/catch", "never_reached")),
            (catching(["timeout"], ["timeout"]), ("/steps/0/on_error/1/catch", "never_reached")),
            (catching("all", "all"), ("/steps/0/on_error/1/catch", "never_reached")),
            (case(True, one(), **{"else": [one("b")]}), ("/steps/0/conditional/else", "never_reached")),
            (case(False, one()), ("/steps/0/conditional/cases/0/when", "never_runs")),
            (loop(one(), until="${{ true }}"), ("/steps/0/loop/until", "constant_condition")),
            (loop(one(), until="${{ false }}"), ("/steps/0/loop/until", "constant_condition")),
            (loop(one(), until=None, **{"while": "${{ true }}"}), ("/steps/0/loop/while", "constant_condition")),
            (graph({"from": "a", "to": "b"}, max_visits=3), ("/steps/0/graph/nodes/1/max_visits", "unused_field")),
            (
                graph({"from": "a", "to": "b"}, {"from": "a", "to": "b", "when": False}),
                ("/steps/0/graph/edges/1/when", "never_runs"),
            ),
            (each(asks()), ("/steps/0/parallel/for_each", "unbounded_fan")),
            (each(approval()), ("/steps/0/parallel/for_each", "unbounded_fan")),
            (each(asks(), for_each="${{ input.more }}"), ("/steps/0/parallel/for_each", "unbounded_fan")),
            (each(TEAM, max_concurrency=2), ("/steps/0/parallel/do", "unlimited_calls")),
            (
                each(loop(asks(), until="${{ last == 1 }}"), max_concurrency=2),
                ("/steps/0/parallel/do", "unlimited_calls"),
            ),
        ],
    )
    def test_each_has_its_place(self, step: JsonObject, expected: tuple[str, str]) -> None:
        assert warned(step, limits={"timeout": "1h"}, input_schema=INPUT) == [expected]

    @pytest.mark.parametrize(
        "step",
        [
            one(when=True),
            asks(when="${{ input.rows != [] }}", timeout="30m", retry={"max_attempts": 2}),
            side(asks("a"), asks("b")),
            approval(timeout="30m", on_timeout="approve"),
            escalated(to="boss", timeout="30m", on_timeout="approve"),
            catching(["timeout"], ["rate_limited", "timeout"], "all"),
            case("${{ input.list == [] }}", one(), **{"else": [one("b")]}),
            each(asks(), max_concurrency=4),
            each(asks(), for_each="${{ input.rows }}"),
            each(asks(), for_each=[1, 2, 3]),
            each(one(value="${{ item }}")),
            graph({"from": "a", "to": "b"}, {"from": "b", "to": "a", "when": "${{ prev.output == 1 }}"}, max_visits=3),
        ],
    )
    def test_what_is_usual_gets_none(self, step: JsonObject) -> None:
        assert warned(step, limits={"timeout": "1h"}, input_schema=INPUT) == []

    def test_limits_bound_what_a_team_for_each_item_costs(self) -> None:
        assert warned(each(TEAM, max_concurrency=2), limits={"max_cost_usd": 1}) == []

    def test_later_cases_of_the_same_condition(self) -> None:
        cases = [{"when": "${{ input.a }}", "steps": [one(f"s{number}")]} for number in range(2)]
        expected = [("/steps/0/conditional/cases/1/when", "never_reached")]
        assert warned({"id": "pick", "conditional": {"cases": cases}}) == expected

    def test_the_first_hundred_are_told(self) -> None:
        assert len(warned(*[one(f"s{number}", when=False) for number in range(150)])) == 100
