"""What never began: once what holds it is over it is skipped, and told of with it; `pending` is what may still come."""

from collections.abc import Iterator, Sequence

from studio.contracts.steps import (
    ConditionalStep,
    GraphStep,
    LoopStep,
    ParallelStep,
    SequentialStep,
    Step,
)
from tests.support.model.cases import Env, StepOutcome
from tests.support.model.scope import ids_inside

Steps = dict[str, StepOutcome]


class Unreached:
    """`rounds` and `items` are by the path of a loop or map: the round that it is in, and how many items it has."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self.rounds: dict[str, int] = {}
        self.items: dict[str, int] = {}

    def over(self, step: Step, path: str, env: Env) -> None:
        """The step's own work is over, or will not begin."""
        for name in ids_inside(step) - {step.id}:
            if name not in env or env[name].status == "pending":
                env[name] = StepOutcome("skipped")
        for place, inner in self._body(step, path):
            self._skip(inner, place)

    def chain(self, steps: Sequence[Step], env: Env) -> None:
        """The run's own steps, or those of its `finally`, are over."""
        for step in steps:
            if step.id not in env:
                env[step.id] = StepOutcome("skipped")
                self.over(step, step.id, env)
            self._skip(step, step.id)

    def left(self) -> None:
        """What earlier attempts did, and the last one did not come to."""
        for path, outcome in self._steps.items():
            if outcome.status == "pending":
                self._steps[path] = StepOutcome("skipped")

    def _skip(self, step: Step, path: str) -> None:
        if path in self._steps and self._steps[path].status not in {"pending", "skipped"}:
            return
        self._steps[path] = StepOutcome("skipped")
        for place, inner in self._body(step, path):
            self._skip(inner, place)

    def _body(self, step: Step, path: str) -> Iterator[tuple[str, Step]]:
        match step:
            case SequentialStep(sequential=block):
                yield from ((f"{path}/{one.id}", one) for one in block.steps)
            case ParallelStep(parallel=block) if block.do is not None:
                count = self.items.get(path, 0)
                yield from ((f"{path}/{block.do.id}[{index}]", block.do) for index in range(count))
            case ParallelStep(parallel=block):
                yield from ((f"{path}/{one.id}", one) for one in block.branches or [])
            case ConditionalStep(conditional=block):
                chains = [case.steps for case in block.cases or []]
                chains += [choice.steps for choice in block.route.choices.values()] if block.route else []
                steps = [one for chain in [*chains, block.otherwise or []] for one in chain]
                yield from ((f"{path}/{one.id}", one) for one in steps)
            case GraphStep(graph=block):
                yield from ((f"{path}/{one.id}", one) for one in block.nodes)
            case LoopStep(loop=block):
                yield from ((f"{path}#{self.rounds.get(path, 0)}/{one.id}", one) for one in block.do)
            case _:
                pass
