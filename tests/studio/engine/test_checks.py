import time

import pytest
from pydantic import ValidationError

from studio.contracts.base import JsonObject
from studio.contracts.definitions import AnyWorkflow, parse_workflow
from studio.engine.checks import agent_references, check_workflow
from studio.engine.drawing import workflow_graph


def workflow(*steps: JsonObject, **fields: object) -> AnyWorkflow:
    return parse_workflow({"name": "test", "pattern": "sequential", "steps": steps, **fields})


def found(definition: AnyWorkflow) -> list[tuple[list[str | int], str]]:
    return [(error.loc, error.type) for error in check_workflow(definition)]


class TestCheckWorkflow:
    def test_a_good_one_has_no_findings(self) -> None:
        inner: JsonObject = {"id": "c", "when": "${{ run.metadata.x == 'y' }}", "transform": "${{ prev.output }}"}
        steps: list[JsonObject] = [
            {"id": "a", "agent": "writer", "input": "${{ input.topic }}"},
            {"id": "b", "sequential": {"steps": [inner, {"id": "d", "transform": "${{ steps.c.output }}"}]}},
        ]
        assert found(workflow(*steps, output="${{ steps.b.output }}")) == []

    @pytest.mark.parametrize(
        ("step", "loc", "kind"),
        [
            ({"id": "b", "transform": "${{ steps.nope.output }}"}, ["steps", 1, "transform"], "unknown_reference"),
            (
                {"id": "b", "transform": {"x": ["${{ steps.b.output }}"]}},
                ["steps", 1, "transform", "x", 0],
                "early_reference",
            ),
            ({"id": "b", "transform": "${{ steps.z.output }}"}, ["steps", 1, "transform"], "early_reference"),
            ({"id": "b", "transform": "${{ 1 + }}"}, ["steps", 1, "transform"], "expression_syntax"),
            ({"id": "b", "transform": "${{ secrets.KEY }}"}, ["steps", 1, "transform"], "unknown_name"),
            ({"id": "b", "transform": "${{ size(steps) }}"}, ["steps", 1, "transform"], "unknown_reference"),
            ({"id": "b", "when": "yes", "transform": 1}, ["steps", 1, "when"], "not_an_expression"),
            ({"id": "b", "when": "a ${{ true }}", "transform": 1}, ["steps", 1, "when"], "not_an_expression"),
            ({"id": "a", "transform": 1}, ["steps", 1, "id"], "duplicate_id"),
            (
                {"id": "b", "agent": {"instructions": "{% if %}"}},
                ["steps", 1, "agent", "instructions"],
                "template_syntax",
            ),
            ({"id": "b", "agent": "w", "input": "${{ vars.x }}"}, ["steps", 1, "input"], "unknown_name"),
        ],
    )
    def test_finding_has_its_place(self, step: JsonObject, loc: list[str | int], kind: str) -> None:
        assert found(workflow({"id": "a", "transform": 1}, step, {"id": "z", "transform": 1})) == [(loc, kind)]

    def test_a_block_cannot_be_named_inside_itself(self) -> None:
        inner: JsonObject = {"id": "c", "transform": "${{ steps.b.output }}"}
        loc = ["steps", 0, "sequential", "steps", 0, "transform"]
        assert found(workflow({"id": "b", "sequential": {"steps": [inner]}})) == [(loc, "early_reference")]

    def test_a_near_miss_gets_a_hint(self) -> None:
        (error,) = check_workflow(workflow({"id": "plan", "transform": 1}, output="${{ steps.paln.output }}"))
        assert error.hint == "did you mean 'plan'?"

    def test_of_many_findings_the_first_hundred_are_told_quickly(self) -> None:
        steps: list[JsonObject] = [
            {"id": f"step_number_{number}_" + "x" * 40, "transform": f"${{{{ steps.step_numbre_{number}.output }}}}"}
            for number in range(1000)
        ]
        started = time.process_time()
        errors = check_workflow(workflow(*steps))
        assert time.process_time() - started < 5  # comparing each with every id takes minutes
        assert [error.loc for error in errors] == [["steps", number, "transform"] for number in range(100)]
        assert sum((error.hint or "").startswith("did you mean") for error in errors) <= 10
        assert all(len(error.hint or "") < 2_000 for error in errors)

    def test_a_hint_lists_twenty_steps(self) -> None:
        steps: list[JsonObject] = [{"id": f"s{number:02}", "transform": 1} for number in range(25)]
        (error,) = check_workflow(workflow(*steps, output="${{ steps.elsewhere.output }}"))
        assert error.hint == "steps are " + ", ".join(f"s{number:02}" for number in range(20)) + " and 5 more"

    def test_templates_of_agents_count_as_findings(self) -> None:
        agent: JsonObject = {"instructions": "{% if %}", "message": "{% if %}"}
        steps: list[JsonObject] = [{"id": f"s{number}", "agent": agent} for number in range(60)]
        assert len(check_workflow(workflow(*steps))) == 100

    @pytest.mark.parametrize(("count", "expected"), [(1999, []), (2000, [(["steps"], "too_many_steps")])])
    def test_steps_inside_blocks_are_counted(self, count: int, expected: list[tuple[list[str | int], str]]) -> None:
        steps: list[JsonObject] = [{"id": f"s{number}", "transform": 1} for number in range(count)]
        assert found(workflow({"id": "block", "sequential": {"steps": steps}})) == expected


class TestGraph:
    def test_nodes_know_their_block(self) -> None:
        inner: JsonObject = {"id": "c", "agent": "writer"}
        definition = workflow({"id": "a", "transform": 1}, {"id": "b", "sequential": {"steps": [inner]}})
        graph = workflow_graph(definition)
        assert [(node["id"], node["block"]) for node in graph["nodes"]] == [("a", None), ("b", None), ("b/c", "b")]
        assert graph["edges"] == [{"from": "a", "to": "b"}]
        assert agent_references(definition) == [(["steps", 1, "sequential", "steps", 0, "agent"], "writer")]


def loop(*steps: JsonObject, **fields: object) -> JsonObject:
    return {"id": "again", "loop": {"do": list(steps), **({"until": "${{ true }}"} | fields)}}


def each(step: JsonObject, **fields: object) -> JsonObject:
    return {"id": "map", "parallel": {"for_each": "${{ input }}", "do": step, **fields}}


def side(*steps: JsonObject, **fields: object) -> JsonObject:
    return {"id": "side", "parallel": {"branches": list(steps), **fields}}


def case(when: object, *steps: JsonObject, **fields: object) -> JsonObject:
    return {"id": "pick", "conditional": {"cases": [{"when": when, "steps": list(steps)}], **fields}}


def one(step_id: str = "one", value: object = 1, **fields: object) -> JsonObject:
    return {"id": step_id, "transform": value, **fields}


def catching(*steps: JsonObject) -> JsonObject:
    return one("risky", on_error=[{"catch": "all", "steps": list(steps)}])


class TestPatterns:
    @pytest.mark.parametrize(
        "steps",
        [
            [each(one(value="${{ [item, index] }}", when="${{ item > 1 }}"))],
            [loop(one(value="${{ [iteration, last] }}"), until="${{ steps.one.output == last }}")],
            [loop(one(), until=None, **{"while": "${{ iteration < 2 }}"}), one("b", "${{ steps.one.output }}")],
            [side(one("a"), one("b")), one("c", "${{ steps.a.output + steps.side.output.b }}")],
            [
                case("${{ true }}", one("a"), **{"else": [one("b")]}),
                one("c", "${{ [steps.a.output, steps.b.status] }}"),
            ],
            [catching(one("h", "${{ error.type }}")), one("c", "${{ steps.h.output }}")],
        ],
    )
    def test_what_is_in_scope(self, steps: list[JsonObject]) -> None:
        assert found(workflow(*steps)) == []

    @pytest.mark.parametrize(
        ("steps", "loc", "kind"),
        [
            ([one(value="${{ item }}")], ["steps", 0, "transform"], "unknown_name"),
            ([one(value="${{ iteration }}")], ["steps", 0, "transform"], "unknown_name"),
            ([one(value="${{ error }}")], ["steps", 0, "transform"], "unknown_name"),
            (
                [each(one()), one("b", "${{ steps.one.output }}")],
                ["steps", 1, "transform"],
                "many_of_step",
            ),
            (
                [side(one("a"), one("b", "${{ steps.a.output }}"))],
                ["steps", 0, "parallel", "branches", 1, "transform"],
                "early_reference",
            ),
            (
                [loop(one("a", "${{ steps.b.output }}"), one("b"))],
                ["steps", 0, "loop", "do", 0, "transform"],
                "early_reference",
            ),
            (
                [case("${{ true }}", one("a"), **{"else": [one("b", "${{ steps.a.output }}")]})],
                ["steps", 0, "conditional", "else", 0, "transform"],
                "early_reference",
            ),
            (
                [catching(one("h", "${{ steps.risky.output }}"))],
                ["steps", 0, "on_error", 0, "steps", 0, "transform"],
                "early_reference",
            ),
            ([case("input > 1", one())], ["steps", 0, "conditional", "cases", 0, "when"], "not_an_expression"),
            ([loop(one(), until="true")], ["steps", 0, "loop", "until"], "not_an_expression"),
            ([each(one("map"))], ["steps", 0, "parallel", "do", "id"], "duplicate_id"),
            (
                [{"id": "map", "parallel": {"for_each": {"a": 1}, "do": one()}}],
                ["steps", 0, "parallel", "for_each"],
                "not_a_list",
            ),
            (
                [side(one("a"), one("b"), join={"at_least": 3})],
                ["steps", 0, "parallel", "join", "at_least"],
                "join_never_met",
            ),
        ],
    )
    def test_each_mistake_has_its_place(self, steps: list[JsonObject], loc: list[str | int], kind: str) -> None:
        assert found(workflow(*steps)) == [(loc, kind)]

    @pytest.mark.parametrize(
        ("block", "message"),
        [
            ({"parallel": {}}, "give branches, or for_each with do"),
            ({"parallel": {"for_each": [1]}}, "give branches, or for_each with do"),
            ({"parallel": {"branches": [one()], "do": one("x")}}, "not both"),
            ({"parallel": {"branches": []}}, "at least 1 item"),
            ({"parallel": {"branches": [one()], "join": "most"}}, "'all' or 'any'"),
            ({"parallel": {"branches": [one()], "join": {"at_least": 0}}}, "greater than or equal to 1"),
            ({"parallel": {"branches": [one()], "join": {"quorum": 1.5}}}, "less than or equal to 1"),
            ({"loop": {"do": [one()]}}, "give until or while"),
            ({"loop": {"do": [one()], "until": "${{ true }}", "while": "${{ true }}"}}, "give until or while"),
            ({"conditional": {"cases": []}}, "at least 1 item"),
            ({"transform": 1, "on_error": "ignore"}, "'fail' or 'continue'"),
            ({"transform": 1, "on_error": [{"catch": ["No sense"], "steps": [one()]}]}, "should match"),
        ],
    )
    def test_a_block_that_says_too_little_or_too_much_is_refused(self, block: JsonObject, message: str) -> None:
        with pytest.raises(ValidationError, match=message):
            workflow({"id": "s", **block})

    def test_agents_are_found_in_every_block(self) -> None:
        def ask(step_id: str) -> JsonObject:
            return {"id": step_id, "agent": step_id}

        steps = [
            each(ask("a")),
            side(ask("b")),
            loop(ask("c")),
            case("${{ true }}", ask("d"), **{"else": [ask("e")]}),
            catching(ask("f")),
        ]
        assert [ref for _, ref in agent_references(workflow(*steps))] == list("abcdef")

    def test_the_graph_shows_choices_rounds_and_what_catches(self) -> None:
        steps = [case("${{ true }}", one("a")), loop(one("b"), one("c")), side(one("d"), one("e")), catching(one("f"))]
        edges = workflow_graph(workflow(*steps))["edges"]
        assert [(edge["from"], edge["to"], edge.get("label")) for edge in edges] == [
            ("pick", "pick/a", "${{ true }}"),
            ("again/b", "again/c", None),
            ("again/c", "again/b", "again"),
            ("risky", "risky/f", "on error: all"),
            ("pick", "again", None),
            ("again", "side", None),
            ("side", "risky", None),
        ]


class TestJoinsOfNodes:
    @pytest.mark.parametrize(
        ("first", "second", "kinds"),
        [
            ("input.x == 'a'", "input.x == 'b'", ["join_never_met"]),
            ("input.ready", "!input.ready", ["join_never_met"]),
            ("input.n > 1", "!(input.n > 1)", ["join_never_met"]),
            ("input.x == 'a'", 'input.x == "a"', []),
            ("input.x == 'a'", "input.y == 'b'", []),
            ("input.x == 'a'", "input.x != 'b'", []),
            ("input.x == 'a' || input.y == 'a'", "input.x == 'b'", []),
            ("!(input.a) || (input.b)", "input.a", []),
        ],
    )
    def test_edges_of_one_node_that_exclude_each_other(self, first: str, second: str, kinds: list[str]) -> None:
        nodes = [one("a"), one("b", join={"at_least": 2})]
        edges = [{"from": "a", "to": "b", "when": f"${{{{ {when} }}}}"} for when in (first, second)]
        definition = parse_workflow({"name": "g", "pattern": "graph", "nodes": nodes, "edges": edges})
        assert [kind for _, kind in found(definition)] == kinds

    def test_in_a_cycle_tokens_add_up(self) -> None:
        nodes = [one("a"), one("b", join={"at_least": 2})]
        edges = [{"from": "a", "to": "b", "when": f"${{{{ input.x == '{value}' }}}}"} for value in "pq"]
        edges.append({"from": "a", "to": "a", "when": "${{ input.again }}"})
        definition = parse_workflow({"name": "g", "pattern": "graph", "start": "a", "nodes": nodes, "edges": edges})
        assert found(definition) == []

    def test_a_large_graph_is_checked_soon(self) -> None:
        nodes = [one(f"n{number}") for number in range(1_500)]
        edges = [
            {"from": f"n{number}", "to": f"n{(number * 7 + step) % 1_500}", "when": "${{ input.again }}"}
            for number in range(1_500)
            for step in range(1, 5)
        ]
        document = {"name": "g", "pattern": "graph", "start": "n0", "nodes": nodes, "edges": edges}
        definition = parse_workflow(document)
        started = time.process_time()
        assert found(definition) == []
        assert time.process_time() - started < 5
