"""A run in virtual time that fails, is retried, and may fail again."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from studio.contracts.base import Json, JsonObject
from studio.contracts.definitions import ResolvedDefinition, ResolvedWorkflow, parse_workflow
from studio.contracts.runs import Resumption, RunError, RunUsage, StepRun
from studio.engine.memory_calls import ModelCall, ModelReply
from studio.engine.memory_driver import MemoryDriver, MemoryRun
from studio.engine.plan import Plan, compile_plan
from studio.engine.reruns import Rerun, plan_rerun
from studio.engine.state import Request, RunFacts
from tests.support.scripted_replies import NoPrompts

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
USED = RunUsage(prompt_tokens=2, completion_tokens=3, total_tokens=5, llm_calls=1)


@dataclass
class Model:
    """Answers each call with its path, or as `says` tells, after as many seconds as `takes` tells; fails those at some
    paths.
    """

    failing: Collection[str]
    says: Mapping[str, str]
    takes: Mapping[str, float]
    calls: list[ModelCall] = field(default_factory=list[ModelCall])

    def reply(self, call: ModelCall) -> ModelReply:
        self.calls.append(call)
        error = RunError(type="invalid_request", message="no") if call.path in self.failing else None
        after = timedelta(seconds=self.takes.get(call.path, 0))
        text = self.says.get(call.path, call.path)
        return ModelReply(text, error=error, after=after, usage=USED, cost_usd=Decimal(1))


class Life:
    """`run` and `again` carry it to an end; the rest tells of the execution that ended last."""

    def __init__(
        self,
        *steps: JsonObject,
        given: Json = None,
        workflows: Mapping[str, JsonObject] | None = None,
        says: Mapping[str, str] | None = None,
        takes: Mapping[str, float] | None = None,
        **fields: Json,
    ) -> None:
        """`fields` are the definition's, `finally_` among them."""
        document = {"name": "test", "pattern": "sequential", "steps": list(steps), **fields}
        children = {
            name: ResolvedWorkflow(name=name, version=1, workflow=parse_workflow({"name": name, **child}))
            for name, child in (workflows or {}).items()
        }
        self._definition = ResolvedDefinition(workflow=parse_workflow(document), workflows=children)
        self._given = given
        self._says, self._takes = says or {}, takes or {}
        self.plan: Plan = compile_plan(self._definition.workflow)
        self.model = Model((), {}, {})
        self.ended: MemoryRun
        self.retries = 0

    def run(self, *failing: str, hears: Sequence[Request] = ()) -> MemoryRun:
        return self._carry(failing, hears, None)

    def again(self, *failing: str, **options: Any) -> Rerun:
        """Retry it, or with `replay` run it anew; the options are those of `plan_rerun`."""
        rerun = plan_rerun(self.plan, self.recorded, **options)
        end, replay = self.ended.end, bool(options.get("replay"))
        resume = Resumption(
            steps=rerun.steps,
            kept=rerun.kept,
            inputs=options.get("inputs", {}),
            usage=RunUsage() if replay else end.progress.usage,
            cost_usd=None if replay else end.progress.cost_usd,
            signals=end.progress.signals,
            heard=end.progress.heard,
        )
        self.retries = 0 if replay else self.retries + 1
        self._carry(failing, (), resume)
        return rerun

    def _carry(self, failing: Sequence[str], hears: Sequence[Request], resume: Resumption | None) -> MemoryRun:
        self.model = Model(failing, self._says, self._takes)
        driver = MemoryDriver(
            self._definition,
            RunFacts(id="run_1"),
            self._given,
            replies=self.model,
            prompts=NoPrompts(),
            start=START if resume is None else self.ended.end.ended_at + DAY,
            resume=resume,
            retry=self.retries,
        )
        for request in hears:
            driver.add(request)
        self.ended = driver.run()
        return self.ended

    @property
    def recorded(self) -> list[StepRun]:
        return self.ended.end.progress.steps

    @property
    def steps(self) -> dict[str, StepRun]:
        return {step.id: step for step in self.recorded}

    @property
    def called(self) -> list[str]:
        return [call.path for call in self.model.calls]

    def input(self, path: str) -> Json:
        """What the model was asked by the step at a path."""
        return next(call.input for call in self.model.calls if call.path == path)

    def told(self, kind: str) -> list[tuple[str | None, int]]:
        """The step and attempt of each event of a kind."""
        return [(event.step_id, event.attempt) for event in self.ended.events if event.type == kind]


def ask(step_id: str, **fields: Json) -> JsonObject:
    return {"id": step_id, "agent": {}, **fields}
