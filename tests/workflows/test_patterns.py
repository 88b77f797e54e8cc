"""Parallel, conditional and loop blocks on a real Temporal server."""

import pytest
from temporalio.client import WorkflowFailureError

from studio.contracts.base import JsonObject
from tests.support.platform import Engine
from tests.support.scripted_upstream import Reply


def agent(step_id: str, message: str, **fields: object) -> JsonObject:
    return {"id": step_id, "agent": {"message": message}, **fields}


def branches(*steps: JsonObject, **fields: object) -> JsonObject:
    return {"id": "side", "parallel": {"branches": list(steps), **fields}}


class TestParallel:
    async def test_branches_are_with_the_model_at_the_same_time(self, engine: Engine) -> None:
        engine.upstream.when("left", Reply(text="l", hold_after=0))
        engine.upstream.when("right", Reply(text="r", hold_after=0))
        handle = await engine.start([branches(agent("a", "left"), agent("b", "right"))])
        await engine.upstream.wait_for_calls(2, "held")
        engine.upstream.release()
        assert await handle.result() == {"a": "l", "b": "r"}

    async def test_the_winner_closes_the_losers_connections(self, engine: Engine) -> None:
        engine.upstream.when("quick", Reply(text="won"))
        engine.upstream.when("slow", Reply(text="late", hold_after=0))
        steps = [branches(agent("a", "quick"), agent("b", "slow"), join="any")]
        handle = await engine.start(steps)
        assert await handle.result() == {"a": "won", "b": None}
        run = await engine.run(handle.id)
        assert {step.id: step.status for step in run.steps} == {
            "side": "succeeded",
            "side/a": "succeeded",
            "side/b": "cancelled",
        }
        events = [(event.type, event.step_id) for event in await engine.events(handle.id)]
        over = events.index(("step.succeeded", "side"))
        assert [step for _, step in events[over + 1 :] if step is not None] == []

    async def test_a_branch_that_lost_before_it_began_does_not_hang_the_run(self, engine: Engine) -> None:
        handle = await engine.start([branches({"id": "a", "transform": 1}, agent("b", "never asked"), join="any")])
        assert await handle.result() == {"a": 1, "b": None}
        assert engine.upstream.calls == []

    async def test_a_map_of_two_hundred_items_starts_every_step_before_its_tokens(self, engine: Engine) -> None:
        engine.upstream.default = Reply(text="ok")
        items = [{"message": str(number)} for number in range(200)]
        do: JsonObject = {"id": "one", "agent": {}}
        handle = await engine.start([{"id": "map", "parallel": {"for_each": items, "do": do}}])
        assert await handle.result() == ["ok"] * 200
        seen: set[str | None] = set()
        for event in await engine.events(handle.id):
            if event.type == "step.started":
                seen.add(event.step_id)
            elif event.type == "token":
                assert event.step_id in seen
        assert {f"map/one[{number}]" for number in range(200)} <= seen

    async def test_a_failed_branch_stops_the_others_and_fails_the_run(self, engine: Engine) -> None:
        engine.upstream.when("bad", Reply(status=400, error={"error": {"message": "no"}}))
        engine.upstream.when("slow", Reply(text="late", hold_after=0))
        handle = await engine.start([branches(agent("a", "bad"), agent("b", "slow"))])
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        run = await engine.run(handle.id)
        assert run.error is not None
        assert (run.error.type, run.error.step_id) == ("invalid_request", "side/a")
        assert {step.id: step.status for step in run.steps}["side/b"] == "cancelled"


class TestRounds:
    async def test_drafts_until_the_critic_is_content_and_spans_hang_under_the_loop(self, engine: Engine) -> None:
        engine.upstream.when("judge draft 0", Reply(text="again"))
        engine.upstream.when("judge draft 1", Reply(text="good"))
        block: JsonObject = {
            "do": [
                {"id": "draft", "transform": "draft ${{ iteration }}"},
                agent("critic", "judge {{ text }}", input={"text": "${{ steps.draft.output }}"}),
            ],
            "until": "${{ last == 'good' }}",
        }
        handle = await engine.start([{"id": "refine", "loop": block}], output="${{ steps.draft.output }}")
        assert await handle.result() == "draft 1"
        run = await engine.run(handle.id)
        assert [step.id for step in run.steps] == [
            "refine",
            "refine#0/draft",
            "refine#0/critic",
            "refine#1/draft",
            "refine#1/critic",
        ]
        found = await engine.spans.wait_for(8)  # the run, its five steps and two model calls
        spans = {span.step_id: span for span in found if span.kind != "llm"}
        assert spans["refine#1/critic"].parent_span_id == spans["refine"].span_id


class TestOnError:
    async def test_a_refusal_is_caught_and_the_run_goes_on(self, engine: Engine) -> None:
        engine.upstream.when("bad", Reply(status=400, error={"error": {"message": "no"}}))
        catches = [{"catch": ["invalid_request"], "steps": [{"id": "sorry", "transform": "sorry: ${{ error.type }}"}]}]
        handle = await engine.start(
            [agent("ask", "bad", on_error=catches), {"id": "b", "transform": "${{ prev.output }}"}]
        )
        assert await handle.result() == "sorry: invalid_request"


class TestNewPatterns:
    async def test_a_graph_waits_undoes_and_cleans_up(self, engine: Engine) -> None:
        engine.upstream.when("broken", Reply(status=400, error={"error": {"message": "no"}}))
        nodes: list[JsonObject] = [
            {"id": "first", "transform": 1, "compensate": {"id": "undo", "transform": "${{ steps.first.output }}"}},
            {"id": "pause", "wait": {"for": "200ms"}},
            agent("bad", "broken"),
        ]
        edges = [{"from": "first", "to": "pause"}, {"from": "pause", "to": "bad"}]
        steps: list[JsonObject] = [{"id": "g", "graph": {"nodes": nodes, "edges": edges}}]
        fields: JsonObject = {"finally": [{"id": "last", "transform": "cleaned"}]}
        handle = await engine.start(steps, **fields)
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        run = await engine.run(handle.id)
        assert run.status == "failed"
        assert {step.id: step.output for step in run.steps if step.status == "succeeded"} == {
            "g/first": 1,
            "g/pause": None,
            "g/first/undo": 1,
            "last": "cleaned",
        }

    async def test_a_team_and_a_route_read_the_models_json(self, engine: Engine) -> None:
        engine.upstream.when("Task: plan", Reply(text='Here: {"delegate": [{"worker": "reader", "task": "read"}]}'))
        engine.upstream.when("seen", Reply(text='{"answer": "left"}'))
        engine.upstream.when("read", Reply(text="seen"))
        engine.upstream.when("Choose exactly one", Reply(text='{"choice": "left"}'))
        team: JsonObject = {"manager": {}, "workers": [{"name": "reader", "agent": {}}], "input": "plan"}
        choices = {
            "left": {"steps": [{"id": "l", "transform": "L"}]},
            "right": {"steps": [{"id": "r", "transform": 1}]},
        }
        route: JsonObject = {"agent": {}, "choices": choices}
        handle = await engine.start([{"id": "t", "hierarchical": team}, {"id": "c", "conditional": {"route": route}}])
        assert await handle.result() == "L"

    async def test_a_block_that_takes_too_long_closes_its_calls(self, engine: Engine) -> None:
        engine.upstream.when("slow", Reply(text="late", hold_after=0))
        block: JsonObject = {"id": "b", "timeout": "500ms", "on_error": "continue"}
        handle = await engine.start([block | {"sequential": {"steps": [agent("a", "slow")]}}])
        assert await handle.result() is None
        run = await engine.run(handle.id)
        assert {step.id: step.status for step in run.steps} == {"b": "failed", "b/a": "cancelled"}
