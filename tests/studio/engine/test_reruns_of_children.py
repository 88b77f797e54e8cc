"""Retries of runs whose child workflows failed, on the pure core."""

from studio.contracts.base import JsonObject
from tests.support.lives import Life, ask


class TestChildWorkflows:
    INNER: JsonObject = {"pattern": "sequential", "steps": [ask("a"), {"id": "d", "workflow": "deep"}, ask("z")]}
    DEEP: JsonObject = {"pattern": "sequential", "steps": [ask("x"), ask("y")]}

    def life(self) -> Life:
        return Life(ask("b"), {"id": "c", "workflow": "inner"}, workflows={"inner": self.INNER, "deep": self.DEEP})

    def test_one_that_failed_goes_on_inside_at_any_depth(self) -> None:
        life = self.life()
        life.run("c/d/y")
        rerun = life.again()
        assert list(rerun.again) == ["c"]
        assert life.called == ["c/d/y", "c/z"]
        assert life.told("step.started") == [("c", 2), ("c/d", 2), ("c/d/y", 2), ("c/z", 1)]
        assert life.ended.end.progress.usage.llm_calls == 6
        assert life.steps["c"].usage.llm_calls == 5

    def test_one_that_gets_another_input_begins_at_its_beginning(self) -> None:
        life = self.life()
        life.run("c/d/y")
        life.again(inputs={"c": 1})
        assert life.called == ["c/a", "c/d/x", "c/d/y", "c/z"]
        assert [life.steps[path].attempt for path in ("c", "c/a", "c/z")] == [2, 2, 2]

    def test_an_input_inside_is_repaired_there(self) -> None:
        life = self.life()
        life.run("c/d/y")
        life.again(inputs={"c/d/y": "better"})
        assert life.called == ["c/d/y", "c/z"]
        assert life.input("c/d/y") == "better"

    def test_one_whose_answer_was_refused_begins_at_its_beginning(self) -> None:
        step: JsonObject = {"id": "c", "workflow": "inner", "output_schema": {"type": "integer"}}
        life = Life(step, workflows={"inner": {"pattern": "sequential", "steps": [ask("a"), ask("b")]}})
        life.run()
        life.again()
        assert life.called == ["c/a", "c/b"]

    def test_one_whose_answer_was_refused_goes_on_with_an_input_that_is_repaired_inside(self) -> None:
        step: JsonObject = {"id": "c", "workflow": "inner", "output_schema": {"type": "integer"}}
        life = Life(step, workflows={"inner": {"pattern": "sequential", "steps": [ask("a"), ask("b")]}})
        life.run()
        life.again(inputs={"c/b": "better"})
        assert [(call.path, call.input) for call in life.model.calls] == [("c/b", "better")]

    def test_an_input_for_no_step_inside_fails_the_step_that_runs_it(self) -> None:
        life = self.life()
        life.run("c/d/y")
        life.again(inputs={"c/nope": 1})
        error = life.ended.end.error
        assert error is not None
        assert (error.type, error.step_id) == ("invalid_request", "c")
        assert "'inner': There is no step 'nope'" in error.message

    def test_one_that_ended_is_kept_with_all_inside(self) -> None:
        life = Life({"id": "c", "workflow": "deep"}, ask("b"), workflows={"deep": self.DEEP})
        life.run("b")
        life.again()
        assert life.called == ["b"]
        assert [step.id for step in life.recorded] == ["c", "c/x", "c/y", "b"]
