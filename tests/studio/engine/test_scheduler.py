"""The core alone: chains of steps, cancels, and that the state it is given stays as it was."""

from datetime import UTC, datetime, timedelta

from studio.contracts.base import Json, JsonObject
from studio.contracts.definitions import parse_workflow
from studio.engine.plan import Plan, compile_plan
from studio.engine.scheduler import advance
from studio.engine.state import (
    CancelRequested,
    CancelStep,
    Command,
    CoreEvent,
    EndRun,
    Publish,
    RunAgent,
    RunFacts,
    RunStarted,
    RunState,
    StepCancelled,
    StepSucceeded,
    Tick,
    Ticked,
)

START = datetime(2026, 1, 1, tzinfo=UTC)


def plan_of(steps: list[JsonObject], **fields: Json) -> Plan:
    document = {"name": "test", "pattern": "sequential", "steps": steps, **fields}
    return compile_plan(parse_workflow(document))


def new_state(value: Json = None) -> RunState:
    return RunState(run=RunFacts(id="run_1"), input=value)


class Run:
    """Feeds a run by hand, one second an event; each state goes through JSON in between, as in a history."""

    def __init__(self, plan: Plan, value: Json = None) -> None:
        self.plan = plan
        self.state = new_state(value)
        self.seen: list[Command] = []
        self.at = START
        self.feed(RunStarted(self.at))

    def feed(self, event: CoreEvent) -> None:
        self.state, commands = advance(self.plan, self.state, event)
        self.state = RunState.model_validate_json(self.state.model_dump_json())
        self.seen += commands
        self.at += timedelta(seconds=1)
        if any(isinstance(command, Tick) for command in commands):
            self.feed(Ticked(self.at))

    def waiting(self) -> list[str]:
        return [step.id for step in self.state.steps.values() if step.status == "running" and step.kind == "agent"]

    @property
    def ends(self) -> list[EndRun]:
        return [command for command in self.seen if isinstance(command, EndRun)]

    def started(self) -> list[str]:
        return [command.path for command in self.seen if isinstance(command, RunAgent)]

    def events(self) -> list[tuple[str, str | None]]:
        return [(one.event.type, one.event.step_id) for one in self.seen if isinstance(one, Publish)]


def ask(step_id: str, **fields: Json) -> JsonObject:
    return {"id": step_id, "agent": "writer", **fields}


class TestSequence:
    def test_one_step_at_a_time(self) -> None:
        run = Run(plan_of([ask("a"), ask("b")]))
        assert run.started() == ["a"]
        run.feed(StepSucceeded(run.at, "a", "first"))
        assert run.started() == ["a", "b"]
        run.feed(StepSucceeded(run.at, "b", "second"))
        assert run.ends == [EndRun("succeeded", "second")]

    def test_input_is_the_output_before_or_the_runs(self) -> None:
        run = Run(plan_of([ask("a"), ask("b"), ask("c", input=None)]), "question")
        run.feed(StepSucceeded(run.at, "a", "answer"))
        run.feed(StepSucceeded(run.at, "b", "other"))
        given_inputs = [command.input for command in run.seen if isinstance(command, RunAgent)]
        assert given_inputs == ["question", "answer", None]

    def test_a_thousand_blocks_side_by_side_need_no_stack(self) -> None:
        blocks: list[JsonObject] = [
            {"id": f"b{n}", "sequential": {"steps": [{"id": f"t{n}", "transform": n}]}} for n in range(1000)
        ]
        assert Run(plan_of(blocks)).ends == [EndRun("succeeded", 999)]

    def test_a_result_that_comes_twice_counts_once(self) -> None:
        run = Run(plan_of([ask("a"), ask("b")]))
        run.feed(StepSucceeded(run.at, "a", "first"))
        run.feed(StepSucceeded(run.at, "a", "again"))
        assert run.started() == ["a", "b"]
        assert run.state.steps["a"].output == "first"

    def test_durations_come_from_the_events(self) -> None:
        run = Run(plan_of([ask("a")]))
        run.feed(StepSucceeded(START + timedelta(milliseconds=1500), "a", "x"))
        assert run.state.steps["a"].duration_ms == 1500


class TestWhen:
    def test_something_else_than_a_boolean_fails_the_step(self) -> None:
        run = Run(plan_of([{"id": "a", "when": "${{ input }}", "transform": 1}]), "yes")
        (end,) = run.ends
        assert end.error is not None
        assert end.error.type == "expression_error"
        assert end.error.step_id == "a"
        assert "true or false" in end.error.message


class TestCancel:
    def test_it_waits_for_the_running_step(self) -> None:
        run = Run(plan_of([ask("a"), ask("b")]))
        run.feed(CancelRequested(run.at))
        assert [command for command in run.seen if isinstance(command, CancelStep)] == [CancelStep("a")]
        assert run.ends == []
        run.feed(StepCancelled(run.at, "a"))
        assert [end.status for end in run.ends] == ["cancelled"]

    def test_a_step_that_finished_first_keeps_its_output(self) -> None:
        run = Run(plan_of([ask("a"), ask("b")]))
        run.feed(CancelRequested(run.at))
        run.feed(StepSucceeded(run.at, "a", "done after all"))
        assert [end.status for end in run.ends] == ["cancelled"]
        assert run.state.steps["a"].status == "succeeded"
        assert run.started() == ["a"]


class TestPurity:
    def test_the_given_state_stays_as_it_was(self) -> None:
        plan = plan_of([{"id": "t", "transform": 1}, ask("a")])
        state = new_state()
        before = state.model_dump_json()
        first = advance(plan, state, RunStarted(START))
        second = advance(plan, state, RunStarted(START))
        assert state.model_dump_json() == before
        assert first == second
