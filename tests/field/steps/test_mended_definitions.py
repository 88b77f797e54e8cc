"""A run that goes on with another version of its definition: finished steps that mean the same are kept."""

from studio.contracts.base import Json, JsonObject
from studio.contracts.definitions import ResolvedAgent, ResolvedDefinition, parse_workflow
from studio.contracts.runs import Resumption
from studio.engine.memory_calls import ModelReply
from studio.engine.memory_driver import MemoryDriver, MemoryRun
from studio.engine.plan import compile_plan
from studio.engine.rerun_versions import Changes
from studio.engine.reruns import Rerun, plan_rerun
from studio.engine.state import RunFacts
from tests.support.memory_runs import START, ask, says
from tests.support.scripted_replies import NoPrompts, ScriptedReplies

BROKEN: JsonObject = {"id": "last", "transform": "${{ 1 / 0 }}"}
MENDED: JsonObject = {"id": "last", "transform": "${{ steps.a.output }}"}


def defined(*steps: JsonObject, agents: dict[str, JsonObject] | None = None, **fields: Json) -> ResolvedDefinition:
    workflow = parse_workflow({"name": "w", "pattern": "sequential", "steps": [*steps], **fields})
    specs = {name: ResolvedAgent.model_validate({"name": name, "spec": spec}) for name, spec in (agents or {}).items()}
    return ResolvedDefinition(workflow=workflow, agents=specs)


class Mended:
    """A run with the first definition, and what it is with the second."""

    def __init__(self, first: ResolvedDefinition, second: ResolvedDefinition, **options: Json) -> None:
        before = self._run(first, None)
        steps = before.end.progress.steps
        self.rerun: Rerun = plan_rerun(
            compile_plan(first.workflow, first.agents),
            steps,
            status=before.end.status,
            changes=Changes(first, second),
            **options,
        )
        self.run = self._run(second, Resumption(steps=self.rerun.steps, kept=self.rerun.kept))

    def _run(self, definition: ResolvedDefinition, resume: Resumption | None) -> MemoryRun:
        self.replies = ScriptedReplies(_Everything())
        driver = MemoryDriver(
            definition,
            RunFacts(id="run_1"),
            {"n": 1},
            replies=self.replies,
            prompts=NoPrompts(),
            start=START,
            resume=resume,
            retry=0 if resume is None else 1,
        )
        return driver.run()

    @property
    def called(self) -> list[str]:
        """The calls of the second execution."""
        return self.replies.paths()


class _Everything(dict[str, list[ModelReply]]):
    """Every call says its path."""

    def __missing__(self, path: str) -> list[ModelReply]:
        return [says(path)]


class TestWhatIsKept:
    def test_a_typo_in_the_last_step_pays_nothing_twice(self) -> None:
        mended = Mended(defined(ask("a"), ask("b"), BROKEN), defined(ask("a"), ask("b"), MENDED))
        assert (mended.called, mended.run.end.status, mended.run.end.output) == ([], "succeeded", "a")
        assert mended.rerun.again == {"last": "its definition is another one"}
        assert mended.rerun.kept == ["a", "b"]

    def test_a_changed_step_and_what_depends_on_it_runs_again(self) -> None:
        uses = ask("b", input="${{ steps.a.output }}")
        mended = Mended(
            defined(ask("a"), uses, ask("c"), BROKEN), defined(ask("a", input="other"), uses, ask("c"), MENDED)
        )
        assert mended.called == ["a", "b"]
        assert mended.rerun.again["a"] == "its definition is another one"
        assert mended.rerun.again["b"] == "it uses a, which runs again"

    def test_another_agent_runs_its_steps_again(self) -> None:
        step = {"id": "a", "agent": "writer", "input": "x"}
        first = defined(step, ask("b"), BROKEN, agents={"writer": {"instructions": "one"}})
        mended = Mended(first, defined(step, ask("b"), MENDED, agents={"writer": {"instructions": "two"}}))
        assert mended.called == ["a"]
        assert mended.rerun.again["a"] == "the agent that it runs is another one"

    def test_a_step_that_is_gone_is_dropped_and_whose_input_it_was_runs_again(self) -> None:
        heir: JsonObject = {"id": "b", "agent": {}}
        mended = Mended(defined(ask("a"), ask("x"), heir, BROKEN), defined(ask("a"), heir, MENDED))
        assert (mended.called, mended.rerun.dropped) == (["b"], ["x"])
        assert mended.rerun.again["b"] == "the step before it is another one"
        assert "x" not in {step.id for step in mended.run.end.progress.steps}

    def test_a_new_step_in_a_block_runs_alone(self) -> None:
        def block(*steps: JsonObject) -> JsonObject:
            return {"id": "s", "sequential": {"steps": [*steps]}}

        mended = Mended(defined(block(ask("a")), BROKEN), defined(block(ask("a"), ask("n")), MENDED))
        assert (mended.called, mended.run.end.status) == (["s/n"], "succeeded")

    def test_a_graph_with_other_edges_runs_again(self) -> None:
        def graph(*edges: tuple[str, str]) -> JsonObject:
            written = [{"from": one, "to": other} for one, other in edges]
            return {"id": "g", "graph": {"nodes": [ask("a"), ask("b"), ask("c")], "edges": written}}

        mended = Mended(defined(graph(("a", "b")), BROKEN), defined(graph(("a", "b"), ("b", "c")), MENDED))
        assert mended.called == ["g/a", "g/b", "g/c"]

    def test_a_step_of_another_kind_runs_again(self) -> None:
        mended = Mended(defined(ask("a"), BROKEN), defined({"id": "a", "transform": "new"}, MENDED))
        assert (mended.called, mended.run.end.output) == ([], "new")
        assert mended.rerun.again["a"] == "it was of the kind 'agent'"

    def test_the_same_definition_again_is_a_plain_retry(self) -> None:
        same = defined(ask("a"), BROKEN)
        mended = Mended(same, same)
        assert (mended.called, mended.rerun.kept, mended.rerun.dropped) == ([], ["a"], [])
