import time

import pytest

from studio.contracts.base import JsonObject
from studio.contracts.definitions import WorkflowDefinition
from studio.engine.checks import agent_references, check_workflow, workflow_graph


def workflow(*steps: JsonObject, **fields: object) -> WorkflowDefinition:
    return WorkflowDefinition.model_validate({"name": "test", "pattern": "sequential", "steps": steps, **fields})


def found(definition: WorkflowDefinition) -> list[tuple[list[str | int], str]]:
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
