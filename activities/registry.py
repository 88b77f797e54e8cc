"""Every activity of the task queue `studio`, built from what it needs."""

from collections.abc import Callable, Sequence
from typing import Any

from activities.llm import LLMActivities
from activities.prompts import PromptActivities
from activities.records import RecordActivities
from activities.run_events import RunEvents
from activities.starts import StartActivities
from studio.clients.llm import LlmClient
from studio.clients.prompts import PromptClient
from studio.db.engine import Database
from studio.store.answers import AnswerCache
from studio.store.conversations import ConversationStore
from studio.store.event_stream import EventStream
from studio.tracing import SpanSender


def build_activities(
    database: Database,
    stream: EventStream,
    answers: AnswerCache,
    llm: LlmClient,
    prompts: PromptClient,
    spans: SpanSender,
) -> Sequence[Callable[..., Any]]:
    conversations = ConversationStore(database)
    events = RunEvents(stream, database)
    records = RecordActivities(database, stream, spans)
    starts = StartActivities(database, stream)
    return (
        LLMActivities(llm, conversations, events, answers).complete_chat,
        PromptActivities(prompts, conversations, events).render_prompt,
        events.publish_events,
        records.record_end,
        starts.prepare_run,
        starts.start_batch,
    )
