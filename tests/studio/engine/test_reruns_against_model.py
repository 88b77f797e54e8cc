"""Generated definitions that fail and are retried: the core must come to what a run that never failed comes to."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hypothesis import assume, given, note, settings
from hypothesis import strategies as st

from studio.contracts.runs import Resumption, StepRun, is_inside
from studio.engine.plan import Plan
from studio.engine.recalls import resumed
from studio.engine.reruns import Rerun, plan_rerun
from studio.engine.scope import plan_id
from studio.engine.state import RunFacts, RunState
from tests.support.model.cases import Call, Case, RunOutcome, Script
from tests.support.model.definitions import cases
from tests.support.model.reference import interpret
from tests.support.model.simulation import Simulation

SECOND = 1_000_000


@dataclass(frozen=True)
class Failing(Script):
    """Fails the calls at some paths."""

    paths: frozenset[str] = frozenset()

    def call(self, path: str, attempt: int) -> Call:
        made = super().call(path, attempt)
        return replace(made, output=None, error="invalid_request") if path in self.paths else made


def failing(case: Case, paths: Sequence[str] = ()) -> Case:
    script = Failing(case.script.calls, case.script.stops_at_once, frozenset(paths))
    return replace(case, script=script, cancel_at=None)


def go_on(case: Case, before: Simulation, rerun: Rerun, retry: int = 1) -> Simulation:
    """The run at its next execution."""
    resume = Resumption(steps=rerun.steps, kept=rerun.kept, usage=before.state.usage)
    state = resumed(RunState(run=RunFacts(id="run_1")), resume, retry)
    return Simulation(case, now=before.now + SECOND, state=state)


def recorded(simulation: Simulation) -> list[StepRun]:
    return list(simulation.state.steps.values())


def results(plan: Plan, outcome: RunOutcome) -> dict[str, object]:
    """What each step came to: left out is what undid a step in an earlier execution."""
    steps = {path: step for path, step in outcome.steps.items() if not is_undoing(plan, path)}
    return {path: (step.status, step.output) for path, step in steps.items()}


def is_undoing(plan: Plan, path: str) -> bool:
    """Whether it undoes a step, or is inside what does."""
    nodes = [plan.nodes.get(plan_id(place)) for place in path.split("/")]
    return any(node is not None and node.group.endswith("~") for node in nodes)


class TestARetriedRun:
    @settings(max_examples=60, deadline=None, print_blob=True)
    @given(cases(steady=True), st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=3), min_size=1, max_size=2))
    def test_it_ends_like_one_that_never_failed(self, case: Case, picks: list[list[int]]) -> None:
        healthy = Simulation(failing(case))
        expected = healthy.run()
        # A manager deals with a worker's failure: that is told to it, and nothing of it runs again.
        called = [path for path in healthy.called if "/worker." not in path]
        assume(called and {step.status for step in expected.steps.values()} <= {"succeeded", "skipped"})
        broken = [[called[pick % len(called)] for pick in picked] for picked in picks]
        run = Simulation(failing(case, broken[0]))
        outcome = run.run()
        for retry, paths in enumerate([*broken[1:], []], 1):
            rerun = plan_rerun(run.plan, recorded(run), status=run.ends[0].status)
            note(f"failed: {broken}; again: {rerun.again}; kept: {rerun.kept}")
            ran = {step.id for step in recorded(run) if step.status not in {"pending", "skipped"}}
            run = go_on(failing(case, paths), run, rerun, retry)
            outcome = run.run()
            assert not set(run.called) & set(rerun.kept)
            undoing = {path for path in run.called if is_undoing(run.plan, path)}
            assert set(run.called) & ran - undoing <= set(rerun.again)
        assert (outcome.status, outcome.output, outcome.error) == (expected.status, expected.output, expected.error)
        assert results(run.plan, outcome) == results(run.plan, expected)

    @settings(max_examples=60, deadline=None, print_blob=True)
    @given(cases())
    def test_what_went_well_is_recalled_as_it_was(self, case: Case) -> None:
        first = Simulation(case)
        outcome = first.run()
        rerun = plan_rerun(first.plan, recorded(first), status=first.ends[0].status)
        again = go_on(failing(case), first, rerun)
        result = again.run()
        # A block that fails again may be tried again, from its beginning.
        anew = {str(path) for kind, path in again.published if kind == "step.retrying"}
        kept = {path for path in rerun.kept if not any(is_inside(path, block) for block in anew)}
        assert not set(again.called) & kept
        assert not {path for kind, path in again.published if kind == "step.started"} & kept
        ended = {step.id for step in recorded(first) if step.ended_at is not None}
        if outcome.status == "succeeded" and not interpret(case).tied and ended == set(rerun.kept):
            assert (result.status, result.output) == ("succeeded", outcome.output)
            assert result.steps == outcome.steps
            assert not again.called
