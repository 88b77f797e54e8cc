"""A run of the reference model: how steps begin, fail, are caught, tried again and undone, and how the run ends."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Sequence
from datetime import timedelta
from itertools import combinations
from typing import Any

from studio.contracts.base import Json
from studio.contracts.runs import block_of, is_inside
from studio.contracts.steps import (
    AgentStep,
    Condition,
    Step,
    block_in,
)
from tests.support.model.actors import STOP, Actor, Message, World
from tests.support.model.cases import MILLISECOND, CallOutcome, Case, Env, RunOutcome, StepOutcome
from tests.support.model.results import SKIPPED, STOPPED, Failure, Result, failed
from tests.support.model.scope import ids_inside
from tests.support.model.unreached import Unreached

NEVER_AGAIN = {"invalid_request", "prompt_error", "expression_error", "limit_exceeded", "schema_mismatch"}
"""What a block that is tried again would only fail with again."""


Body = Generator[None, Message, Result]


def microseconds(duration: timedelta) -> int:
    return duration // timedelta(milliseconds=1) * MILLISECOND


class Interpreter(ABC):
    """A run and its steps; what each kind of step does is `work`."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.definition = case.definition
        self.world = World()
        self.steps: dict[str, StepOutcome] = {}
        self.unreached = Unreached(self.steps)
        self.calls: list[CallOutcome] = []
        self.undo: list[tuple[str, Step, Env]] = []
        """What compensates steps that succeeded, with the path of each, in the order in which they ended."""
        self.started = 0
        """Steps that count for `max_steps`."""
        self.latest: int | None = None
        """When the latest of them began."""
        self.exempt = False
        self.tied = False
        self.main: Actor
        """All but what undoes the run and its `finally`."""
        self.decided: set[str] = set()
        """Blocks that have what they wait for, or have failed, and wait for what is inside to end."""
        self.early: RunOutcome | None = None
        """How the run ends because someone cancelled it or a limit was exceeded."""

    def outcome(self) -> RunOutcome:
        root = self.world.spawn(None, self._root)
        self.world.run()
        outcome = root.result
        assert isinstance(outcome, RunOutcome), "the model is stuck"
        return outcome

    # The run

    def _root(self, me: Actor) -> Generator[None, Message, RunOutcome]:
        env: Env = {}
        self.main = self.world.part(me)
        limits = self.definition.limits
        cancelled = RunOutcome("cancelled", error=("cancelled", None))
        timed_out = RunOutcome("timed_out", error=("timeout", None))
        if self.case.cancel_at is not None:
            self.world.at(self.case.cancel_at, lambda: self._end_early(cancelled))
        if limits is not None and limits.timeout is not None:
            self.world.at(microseconds(limits.timeout), lambda: self._end_early(timed_out))
        result = yield from self.chain(self.main, self.definition.steps, "", env)
        self.main.over = True
        self.unreached.chain(self.definition.steps, env)
        outcome = self.early or self._judge(result, env)
        self.exempt = True
        if outcome.status != "succeeded":
            self.tied |= self._ended_together()
            for path, step, seen in reversed(self.undo.copy()):
                yield from self.wait(self.world.spawn(me, self.starter(step, f"{path}/{step.id}", seen)))
        if self.definition.finally_ is not None:
            seen = env | {"error": outcome.error}
            steps = self.definition.finally_
            last = yield from self.wait(self.world.spawn(me, lambda actor: self.chain(actor, steps, "", seen)))
            if last.failure is not None and outcome.status == "succeeded":
                outcome = RunOutcome("failed", error=(last.failure.type, last.failure.path))
            self.unreached.chain(steps, seen)
        self.unreached.left()
        outcome.ended, outcome.steps = self.world.now, self.steps
        outcome.calls, outcome.tied = self.calls, self.tied or self.world.tied
        return outcome

    def _ended_together(self) -> bool:
        """Whether steps of different blocks that are undone ended at the same moment: their order is not defined."""
        paths = [path for path, _, _ in self.undo]
        return any(
            self.steps[one].ended == self.steps[other].ended
            and block_of(one) != block_of(other)
            and not is_inside(one, other)
            and not is_inside(other, one)
            for one, other in combinations(paths, 2)
        )

    def _judge(self, result: Result, env: Env) -> RunOutcome:
        if result.failure is not None:
            return RunOutcome("failed", error=(result.failure.type, result.failure.path))
        if self.definition.output is not None:
            return RunOutcome("succeeded", self.value(self.definition.output, env))
        return RunOutcome("succeeded", result.output)

    def _end_early(self, outcome: RunOutcome) -> None:
        if self.main.over:
            return
        if self.early is None or (self.early.status, outcome.status) == ("failed", "cancelled"):
            self.early = outcome
            self.world.stop(self.main)

    # Steps

    def starter(self, step: Step, path: str, env: Env) -> Callable[[Actor], Body]:
        return lambda actor: self.step(actor, step, path, env)

    def chain(self, me: Actor, steps: Sequence[Step], prefix: str, env: Env) -> Body:
        output: Json = None
        for step in steps:
            yield from self.queue(me)
            if me.stopping:
                break
            result = yield from self.step(me, step, prefix + step.id, env)
            if result.kind == "failed":
                return STOPPED if me.stopping else result
            if result.kind == "done":
                output = result.output
        yield from self.queue(me)
        return STOPPED if me.stopping else Result("done", output)

    def step(self, me: Actor, step: Step, path: str, env: Env) -> Body:
        if me.stopping:
            return STOPPED
        if not self.holds(step.when, env):
            self.steps[path] = env[step.id] = StepOutcome("skipped")
            self.unreached.over(step, path, env)
            return SKIPPED
        if block_in(step) is None and not self._may_start(path):
            return STOPPED
        outcome = self.steps[path] = env[step.id] = StepOutcome("running", started=self.world.now)
        result = yield from self._timed(me, step, path, env)
        if block_in(step) is not None and me.stopping:
            result = STOPPED
        self.unreached.over(step, path, env)
        if result.failure is not None:
            outcome.status, outcome.error = "failed", result.failure.type
            if not me.stopping:
                result = yield from self._catch(me, step, path, env, result.failure)
            if result.kind == "stopped":
                outcome.status, outcome.error = "cancelled", None
            elif result.failure is not None:
                outcome.error = result.failure.type
        else:
            outcome.status = "cancelled" if result.kind == "stopped" else "succeeded"
            if result.kind == "done" and step.compensate is not None:
                self.undo = [held for held in self.undo if held[0] != path]
                self.undo.append((path, step.compensate, env.copy()))
        outcome.output, outcome.ended = result.output, self.world.now
        return result

    def _may_start(self, path: str) -> bool:
        limits = self.definition.limits
        if not self.exempt and limits is not None and self.started == limits.max_steps:
            self.tied |= self.latest == self.world.now
            self._end_early(RunOutcome("failed", error=("limit_exceeded", None)))
            self.steps[path] = StepOutcome("skipped")
            return False
        self.started += 1
        self.latest = self.world.now
        return True

    def _catch(self, me: Actor, step: Step, path: str, env: Env, failure: Failure) -> Body:
        if step.on_error == "continue":
            return Result("done")
        for clause in step.on_error if not isinstance(step.on_error, str) else ():
            if clause.catch == "all" or failure.type in clause.catch:
                inner = self.inner(env, error=failure)
                result = yield from self.chain(me, clause.steps, f"{path}/", inner)
                self.export(inner, env, clause.steps)
                return result
        return Result("failed", failure=failure)

    def _timed(self, me: Actor, step: Step, path: str, env: Env) -> Body:
        """Its own `timeout` counts for all attempts, and not for what catches its errors."""
        if step.timeout is None or isinstance(step, AgentStep):
            return (yield from self._tried(me, step, path, env))
        part, late = self.world.part(me), set[str]()

        def ring() -> None:
            if not part.over and not part.stopping and path not in self.decided:
                late.add(path)
                self.world.stop(part)

        self.world.at(microseconds(step.timeout), ring)
        result = yield from self._tried(part, step, path, env)
        part.over = True
        return failed("timeout", path) if late else result

    def _tried(self, me: Actor, step: Step, path: str, env: Env) -> Body:
        retry = step.retry if block_in(step) is not None else None
        attempt = 1
        while True:
            result = yield from self.work(me, step, path, env)
            if retry is None or result.failure is None or attempt == retry.max_attempts or me.stopping:
                return result
            if result.failure.type in {*retry.non_retryable, *NEVER_AGAIN}:
                return result
            delay = min(retry.initial_interval * retry.backoff ** (attempt - 1), retry.max_interval)
            if not (yield from self.sleep(me, microseconds(delay))):
                return STOPPED
            attempt += 1
            for inner in ids_inside(step) - {step.id}:
                env.pop(inner, None)
            for inside, outcome in self.steps.items():
                if is_inside(inside, path):
                    self.steps[inside] = StepOutcome("pending", started=outcome.started, ended=outcome.ended)
            for counts in (self.unreached.rounds, self.unreached.items):
                for at in [at for at in counts if at == path or is_inside(at, path)]:
                    del counts[at]

    @abstractmethod
    def work(self, me: Actor, step: Step, path: str, env: Env) -> Body:
        """One attempt of a step's own work."""
        raise NotImplementedError

    def halt(self, path: str, under_way: Iterable[Actor]) -> None:
        """A block has what it waits for, or has failed: what is under way inside it is told to end."""
        self.decided.add(path)
        now, race = self.world.now, list(under_way)
        # Who wins is not defined when something in there began at this very moment.
        self.tied |= bool(race) and any(one.started == now and is_inside(at, path) for at, one in self.steps.items())
        for actor in race:
            self.world.stop(actor)

    # What takes time

    def queue(self, me: Actor) -> Generator[None, Message, None]:
        """Go on once all that was to happen before has happened."""
        alarm = self.world.alarm(me, 0)
        while (yield) is not alarm:
            pass

    def wait(self, actor: Actor) -> Body:
        while not actor.over:
            yield
        return actor.result

    def sleep(self, me: Actor, duration: int) -> Generator[None, Message, bool]:
        """Whether it was not stopped before."""
        alarm = self.world.alarm(me, duration)
        while (message := (yield)) is not alarm:
            if message is STOP:
                return False
        return True

    def call(self, me: Actor, path: str, timeout: int | None = None) -> Body:
        attempt = sum(1 for call in self.calls if call.path == path)
        call = self.case.script.call(path, attempt)
        made = CallOutcome(path, self.world.now, call)
        self.calls.append(made)
        result = Result("done", call.output) if call.error is None else failed(call.error, path)
        duration = call.duration
        if timeout is not None and timeout < duration:
            duration, result = timeout, failed("timeout", path)
        end, alarm = self.world.now + duration, self.world.alarm(me, duration)
        told = False
        while (message := (yield)) is not alarm:
            if message is STOP and not told:
                told = True
                if self.world.now + call.linger < end:
                    result, alarm = STOPPED, self.world.alarm(me, call.linger)
        made.ended, made.stopped = self.world.now, result is STOPPED
        return result

    def role(self, me: Actor, path: str) -> Body:
        """A call that a block itself makes: a step of its own, without policies."""
        if me.stopping or not self._may_start(path):
            return STOPPED
        outcome = self.steps[path] = StepOutcome("running", started=self.world.now)
        result = yield from self.call(me, path)
        outcome.status = {"done": "succeeded", "failed": "failed"}.get(result.kind, "cancelled")
        outcome.error = result.failure.type if result.failure else None
        outcome.output, outcome.ended = result.output, self.world.now
        return result

    # Expressions

    def holds(self, condition: Condition, env: Env) -> bool:
        return condition if isinstance(condition, bool) else bool(self.value(condition, env))

    def value(self, value: Json, env: Env) -> Json:
        if isinstance(value, str) and value.startswith("${{"):
            return self.case.expressions[value](env)
        return value

    def inner(self, env: Env, *steps: Step, **names: Any) -> Env:
        """What is seen further inside: without what an earlier round or visit did there."""
        inside = {inner for step in steps for inner in ids_inside(step)}
        return {name: value for name, value in env.items() if name not in inside} | names

    def export(self, inner: Env, env: Env, steps: Sequence[Step]) -> None:
        for step in steps:
            for name in ids_inside(step):
                env.pop(name, None)
                if name in inner:
                    env[name] = inner[name]
