"""An agent's call without a server: what it asks, and when it is tried again.

Attempts follow the rules that Temporal keeps for an activity with the step's `retry` and `timeout`: the wait before an
attempt grows by `backoff`, and there is no further attempt that would begin after the step's time is over.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

from studio.contracts.activities import Opening
from studio.contracts.agents import PromptRef, RetryPolicy
from studio.contracts.base import Json, JsonObject
from studio.contracts.definitions import ResolvedAgent
from studio.contracts.prompts import Rendered
from studio.contracts.runs import RunError, RunUsage
from studio.engine.answers import output_of, step_timeout
from studio.engine.caching import caching_of
from studio.engine.messages import opening_messages, prompt_messages, template_variables, user_text
from studio.engine.state import RunAgent, StepFailed, StepSucceeded

RETRIED = frozenset({"timeout", "upstream_error", "rate_limited", "dependency_unavailable", "internal_error"})
"""The error types that another attempt may mend: the same as those of the activities."""
_ASKED = RunUsage(llm_calls=1)


@dataclass(frozen=True)
class ModelCall:
    """One attempt of an agent's call."""

    path: str
    agent: str
    attempt: int
    """Of the step; counts from 1."""
    input: Json
    messages: list[JsonObject]


@dataclass(frozen=True)
class ModelReply:
    """What becomes of an attempt: a text, or an error."""

    text: str = ""
    error: RunError | None = None
    after: timedelta = timedelta()
    """How long the attempt takes."""
    usage: RunUsage = field(default_factory=_ASKED.model_copy)
    cost_usd: Decimal | None = None
    finish_reason: str | None = None
    """`length` when the text was cut at `max_tokens`."""


class Replies(Protocol):
    """Stands for the model."""

    def reply(self, call: ModelCall) -> ModelReply:
        """Asked once for each attempt, in the order in which they begin. What it raises ends the run's `run`."""
        ...


class Prompts(Protocol):
    """Stands for the prompt engine."""

    def render(self, prompt: PromptRef, variables: JsonObject) -> Rendered | None:
        """None for a prompt that is not known here. Raises `StudioError` when it cannot be rendered."""
        ...


class AgentCall:
    """The attempts of one step's call, and what they have used."""

    def __init__(self, command: RunAgent, agent: ResolvedAgent, began: datetime) -> None:
        self.path = command.path
        self._command = command
        self._agent = agent
        self._retry = command.retry or RetryPolicy()
        self._number = 1
        self._usage = RunUsage()
        self._cost_usd: Decimal | None = None
        self._messages: list[JsonObject] = []
        self.caching = caching_of(agent, command)
        self.deadline = began + command.timeout if command.timeout else None

    @property
    def attempt(self) -> int:
        return self._command.attempts_before + self._number

    def open(self, prompts: Prompts) -> None:
        """Render the conversation's first messages. Raises `StudioError`."""
        spec, given = self._agent.spec, self._command.input
        if spec.prompt is None:
            self._messages = opening_messages(
                Opening(instructions=spec.instructions, message=spec.message, input=given)
            )
            return
        rendered = prompts.render(spec.prompt, template_variables(given))
        if rendered is None:
            self._messages = [{"role": "user", "content": user_text(spec.message, given)}]
        else:
            self._messages = prompt_messages(rendered, spec.message, given)

    def question(self, path: str) -> ModelCall:
        """`path` is the step as the run names it."""
        return ModelCall(path, self._agent.name, self.attempt, self._command.input, self._messages)

    def answered(self, at: datetime, reply: ModelReply) -> StepSucceeded | StepFailed:
        self._count(reply)
        output = output_of(self._command, reply.text, reply.finish_reason)
        if isinstance(output, RunError):
            return self.failed(at, output)
        return StepSucceeded(at, self.path, output, self.attempt, self._usage, self._cost_usd)

    def repeated(self, at: datetime, text: str) -> StepSucceeded:
        """With an earlier answer, as the step's `cache` allows."""
        output = output_of(self._command, text, None)
        return StepSucceeded(at, self.path, output, self.attempt, self._usage, self._cost_usd, cached=True)

    def pause(self, at: datetime, reply: ModelReply, error: RunError) -> timedelta | None:
        """How long to wait after a failed attempt until the next; None when there is none."""
        self._count(reply)
        retry = self._retry
        if error.type not in RETRIED or error.type in retry.non_retryable or self._number >= retry.max_attempts:
            return None
        longest = max(retry.max_interval, retry.initial_interval)
        # The exponent is bounded so that the number stays one; the longest wait is reached long before.
        pause = min(retry.initial_interval.total_seconds() * retry.backoff ** min(self._number - 1, 100), 1e9)
        wait = min(timedelta(seconds=pause), longest)
        return None if self.deadline is not None and at + wait > self.deadline else wait

    def again(self) -> None:
        self._number += 1

    def failed(self, at: datetime, error: RunError) -> StepFailed:
        told = error.model_copy(update={"step_id": self.path})
        return StepFailed(at, self.path, told, self.attempt, self._usage, self._cost_usd)

    def timed_out(self, at: datetime) -> StepFailed:
        """The step's own time is over while an attempt is under way."""
        self._usage = self._usage.plus(_ASKED)
        return self.failed(at, step_timeout(self._command.timeout or timedelta()))

    def _count(self, reply: ModelReply) -> None:
        self._usage = self._usage.plus(reply.usage)
        if reply.cost_usd is not None:
            self._cost_usd = (self._cost_usd or Decimal(0)) + reply.cost_usd
