"""Everything that the service opens, in one place."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog
from pymongo import AsyncMongoClient

from prompt_service.migrations import migrate_traces
from prompt_service.mongo import Document, connect_mongo
from prompt_service.prompts.cache import PromptCache
from prompt_service.prompts.documents import PromptDocuments
from prompt_service.prompts.rendering import Renderer
from prompt_service.prompts.repository import PromptRepository
from prompt_service.prompts.service import PromptService
from prompt_service.settings import PromptSettings
from prompt_service.traces.ingest import SpanWriter
from prompt_service.traces.query import TraceQueries
from prompt_service.traces.store import TraceStore

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Resources:
    settings: PromptSettings
    mongo: AsyncMongoClient[Document]
    cache: PromptCache
    repository: PromptRepository
    prompts: PromptService
    documents: PromptDocuments
    store: TraceStore
    writer: SpanWriter
    traces: TraceQueries


@asynccontextmanager
async def open_resources(settings: PromptSettings) -> AsyncGenerator[Resources]:
    """Starts also when nothing answers yet: every part connects when first used, and again after a fault."""
    async with AsyncExitStack() as stack:
        mongo = connect_mongo(settings)
        stack.push_async_callback(mongo.close)
        database = mongo[settings.mongo_database]
        cache = await stack.enter_async_context(PromptCache(settings.redis_url, database))
        renderer = Renderer()
        stack.callback(renderer.close)
        store = TraceStore(settings)
        stack.push_async_callback(store.close)
        if settings.embedded_traces:
            for done in await migrate_traces(store, settings):
                _log.info("migrated", step=done)
        writer = await stack.enter_async_context(
            SpanWriter(
                store,
                settings.trace_payload_bytes,
                settings.trace_retention_days,
                content=settings.trace_content == "on",
            )
        )
        repository = PromptRepository(database)
        prompts = PromptService(repository, cache, renderer)
        yield Resources(
            settings=settings,
            mongo=mongo,
            cache=cache,
            repository=repository,
            prompts=prompts,
            documents=PromptDocuments(prompts, repository, cache),
            store=store,
            writer=writer,
            traces=TraceQueries(store),
        )
