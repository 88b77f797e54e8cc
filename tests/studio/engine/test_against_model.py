"""Generated definitions through the core, compared with the reference model."""

from hypothesis import given, note, settings

from studio.contracts.runs import is_inside
from studio.engine.checks import check_workflow
from tests.support.model.cases import Case
from tests.support.model.definitions import cases
from tests.support.model.reference import interpret
from tests.support.model.simulation import Simulation

ENDED = {"step.succeeded", "step.failed", "step.cancelled"}


class TestAnyDefinition:
    @settings(max_examples=150, deadline=None, print_blob=True)
    @given(cases())
    def test_it_comes_to_what_the_model_says(self, case: Case) -> None:
        # A list written out that is too short for its join is refused when it is stored, and ends well all the same.
        assert {error.type for error in check_workflow(case.definition)} <= {"join_never_met"}
        expected = interpret(case)
        simulation = Simulation(case)
        found = simulation.run()
        check_events(simulation.published, found.status)
        note(f"the model: {expected}")
        note(f"the core: {found}")
        if not expected.tied:  # else things that race happened at the same moment, and either may have won
            assert found == expected


def check_events(published: list[tuple[str, str | None]], status: str) -> None:
    """Every step that started ended once, inside the block around it, and nothing follows the run's end."""
    assert published[0] == ("run.started", None)
    assert published[-1] == (f"run.{status}", None)
    under_way: set[str | None] = set()
    for kind, path in published:
        if kind == "step.started":
            assert path not in under_way, f"{path} was started twice"
            under_way.add(path)
        elif kind in ENDED and path not in under_way:
            assert kind == "step.cancelled", f"{path} ended twice"  # one that a limit kept from starting
        elif kind in ENDED:
            under_way.discard(path)
            inside = [other for other in under_way if is_inside(str(other), str(path))]
            assert not inside, f"{path} ended before {inside}"
    assert not under_way
