"""What a definition means: the simplest interpreter that we could write. It shares no code with the core, which must
agree with it.
"""

from typing import assert_never

from studio.contracts.steps import (
    AgentStep,
    ApprovalStep,
    ConditionalStep,
    FailStep,
    GraphStep,
    HierarchicalStep,
    LoopStep,
    ParallelStep,
    SequentialStep,
    Step,
    TransformStep,
    WaitStep,
    WorkflowStep,
)
from tests.support.model import blocks
from tests.support.model.actors import Actor
from tests.support.model.cases import Case, Env, RunOutcome
from tests.support.model.graphs import graph
from tests.support.model.interpreter import Body, Interpreter, microseconds
from tests.support.model.results import STOPPED, Result, failed


def interpret(case: Case) -> RunOutcome:
    return _Reference(case).outcome()


class _Reference(Interpreter):
    def work(self, me: Actor, step: Step, path: str, env: Env) -> Body:  # noqa: PLR0911 - one line a kind of step
        match step:
            case AgentStep():
                timeout = None if step.timeout is None else microseconds(step.timeout)
                return (yield from self.call(me, path, timeout))
            case TransformStep():
                return Result("done", self.value(step.transform, env))
            case WaitStep():
                assert step.wait.duration is not None
                slept = yield from self.sleep(me, microseconds(step.wait.duration))
                return Result("done") if slept else STOPPED
            case FailStep():
                return failed(step.fail.type, path)
            case SequentialStep():
                return (yield from self.chain(me, step.sequential.steps, f"{path}/", env))
            case ParallelStep():
                return (yield from blocks.parallel(self, me, step, path, env))
            case ConditionalStep():
                return (yield from blocks.conditional(self, me, step.conditional, path, env))
            case GraphStep():
                return (yield from graph(self, me, step, path, env))
            case HierarchicalStep():
                return (yield from blocks.team(self, me, step.hierarchical, path))
            case LoopStep():
                return (yield from blocks.loop(self, me, step.loop, path, env))
            case WorkflowStep() | ApprovalStep():
                raise AssertionError("cases have no child workflows and no people")
            case _:
                assert_never(step)
