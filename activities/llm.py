"""The model call of the native agent."""

import asyncio
import contextlib
from collections.abc import Coroutine
from decimal import Decimal
from typing import Any

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError
from temporalio import activity

from activities.failures import is_given_up, is_worker_leaving, worker_shutdown
from activities.heartbeat import heartbeating
from activities.run_events import RunEvents, RunningStep, attempt_of
from activities.tokens import TokenPublisher
from studio.clients.llm import LlmClient, LlmUnreached
from studio.contracts.activities import CompletionRequest, CompletionResult, FailureDetails, StepContext
from studio.contracts.base import JsonObject
from studio.contracts.llm import CallContext, ChatRequest, Usage
from studio.contracts.runs import RunUsage
from studio.db.disk import is_disk_full
from studio.engine.caching import is_worth_keeping
from studio.engine.messages import opening_messages
from studio.store.answers import AnswerCache, answer_digest
from studio.store.conversations import ConversationStore, KeptAnswer, Receipt

KEEP_PAUSES_SECONDS = (0.2, 0.5, 1, 2, 5, 10, 10, 10, 10, 10)
"""An answer was paid for: the database gets a minute to come back before the model is asked again."""
LATE_SECONDS = 0.8
"""For an answer that comes while its attempt is given up; the next one begins a second later by default."""
_log = structlog.get_logger(__name__)


class LLMActivities:
    """Model calls through the LLM engine, streamed to the run's readers."""

    def __init__(
        self, llm: LlmClient, conversations: ConversationStore, events: RunEvents, answers: AnswerCache
    ) -> None:
        self._llm = llm
        self._conversations = conversations
        self._events = events
        self._answers = answers

    @activity.defn(name="complete_chat")
    async def complete_chat(self, request: CompletionRequest) -> CompletionResult:
        """Ask the model with the conversation so far and append its answer; or give an earlier one, if that will do.

        An answer that an earlier attempt kept, and could not tell of, is not asked for again. Cancelled, it closes the
        connection, and with it the provider's. Raises `ApplicationError`.
        """
        answer = _Answer(request.step)
        try:
            async with heartbeating(answer.used):
                step = await self._events.begin(request.step)
                length = await _to_its_end(self._answer(request, step, answer))
        except Exception as error:
            raise await self._events.failed(request.step, error, answer.used()) from error
        except asyncio.CancelledError:
            if not is_worker_leaving():
                raise
            raise worker_shutdown(answer.used()) from None
        used = answer.used()
        return CompletionResult(
            length=length,
            text=answer.text,
            finish_reason=answer.finish_reason,
            attempt=used.attempt,
            usage=used.usage,
            cost_usd=used.cost_usd,
            cached=answer.is_cached,
        )

    async def _answer(self, request: CompletionRequest, step: RunningStep, answer: "_Answer") -> int:
        """Fill the answer; returns the conversation's length."""
        kept = await self._conversations.kept(step.conversation_id, _call_id()) if activity.info().attempt > 1 else None
        if kept is not None:  # only the way to Temporal failed: it is paid for
            answer.take_kept(kept)
            return kept.length
        cache = request.cache
        digest = answer_digest(step.run.project_id, cache.key) if cache is not None else ""
        known = await self._answers.get(digest) if cache is not None else None
        if known is not None:
            answer.pieces, answer.is_cached = [known], True
            return request.length
        messages, length = await self._messages(request, step)
        await self._ask(request, step, messages, answer)
        length = await self._keep(step, length, answer)
        if cache is not None and await asyncio.to_thread(is_worth_keeping, answer.text, answer.finish_reason, cache):
            await self._answers.put(digest, answer.text, cache.ttl)
        return length

    async def _messages(self, request: CompletionRequest, step: RunningStep) -> tuple[list[JsonObject], int]:
        if request.opening is None:
            return await self._conversations.read(step.conversation_id, request.length), request.length
        opening = opening_messages(request.opening)
        return opening, await self._conversations.write(step.conversation_id, 0, opening)

    async def _ask(
        self, request: CompletionRequest, step: RunningStep, messages: list[JsonObject], answer: "_Answer"
    ) -> None:
        chat = ChatRequest.model_validate({**request.params, "model": request.model, "messages": messages})
        stream = self._llm.stream_chat(chat, _call_context(step, request.prompt))
        answer.asked = True
        async with (
            TokenPublisher(self._events.stream, step.run.run_id, step.path, answer.attempt) as tokens,
            contextlib.aclosing(stream) as deltas,
        ):
            try:
                async for delta in deltas:
                    if delta.reasoning:
                        tokens.add("thinking", delta.reasoning)
                    if delta.text:
                        answer.pieces.append(delta.text)
                        tokens.add("token", delta.text)
                    answer.usage = delta.usage or answer.usage
                    answer.cost_usd = delta.cost_usd if delta.cost_usd is not None else answer.cost_usd
                    answer.finish_reason = delta.finish_reason or answer.finish_reason
            except LlmUnreached:
                answer.asked = False  # no call was made
                raise

    async def _keep(self, step: RunningStep, length: int, answer: "_Answer") -> int:
        receipt = Receipt(call=_call_id(), finish_reason=answer.finish_reason, used=answer.used())
        for pause in KEEP_PAUSES_SECONDS:
            try:
                return await self._conversations.keep(step.conversation_id, length, answer.text, receipt)
            except (OperationalError, InterfaceError, OSError) as error:
                why = "disk full" if is_disk_full(error) else type(error).__name__
                _log.warning("activity.answer_waits_for_database", error=why)
                await asyncio.sleep(pause)
        return await self._conversations.keep(step.conversation_id, length, answer.text, receipt)


async def _to_its_end(work: Coroutine[Any, Any, int]) -> int:
    """A machine that stood still finds its attempts given up and their answers there: they are paid for, and are kept
    before the next attempt asks once more.
    """
    task = asyncio.create_task(work, name="answer")
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if is_given_up():
            await asyncio.wait({task}, timeout=LATE_SECONDS)
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # seen, so that asyncio does not report it as lost
        raise


def _call_id() -> str:
    info = activity.info()
    return f"{info.workflow_run_id}/{info.activity_id}"


class _Answer:
    """What has come of a call so far, on top of what the attempts before it had used."""

    def __init__(self, step: StepContext) -> None:
        self.attempt = attempt_of(step)
        beaten = activity.info().heartbeat_details
        before = FailureDetails.model_validate(beaten[0]) if beaten else step.taken_over
        self._before = before or FailureDetails()
        self.asked = False
        self.is_cached = False
        self.pieces: list[str] = []
        self.usage = Usage()
        self.cost_usd: Decimal | None = None
        self.finish_reason: str | None = None
        self._kept: FailureDetails | None = None

    def take_kept(self, kept: KeptAnswer) -> None:
        """What an earlier attempt was answered."""
        self.pieces, self.finish_reason = [kept.text], kept.receipt.finish_reason
        self._kept = kept.receipt.used.model_copy(update={"attempt": self.attempt})

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def used(self) -> FailureDetails:
        if self._kept is not None:
            return self._kept
        usage = RunUsage(
            prompt_tokens=self.usage.prompt_tokens,
            completion_tokens=self.usage.completion_tokens,
            total_tokens=self.usage.total_tokens,
            llm_calls=1 if self.asked else 0,
        )
        costs = [cost for cost in (self._before.cost_usd, self.cost_usd) if cost is not None]
        cost_usd = sum(costs, Decimal(0)) if costs else None
        return FailureDetails(attempt=self.attempt, usage=self._before.usage.plus(usage), cost_usd=cost_usd)


def _call_context(step: RunningStep, prompt: str | None) -> CallContext:
    run = step.run
    return CallContext(
        project_id=run.project_id,
        session_id=run.session_id,
        user_id=run.user_id,
        run_id=run.run_id,
        step_id=step.path,
        prompt=prompt,
        traceparent=f"00-{run.trace_id}-{step.span_id}-01",
        metadata={"workflow": run.workflow_name, "agent": step.agent},
    )
