"""Fixtures: an LLM engine on a real socket between a scripted upstream and a sink for its spans.

A `conftest.py` imports those that its tests use.
"""

import contextlib
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from openai import AsyncOpenAI

from llm_service.app import create_app
from llm_service.settings import LlmSettings
from studio.settings import load_settings
from tests.support.asgi_server import serving
from tests.support.scripted_upstream import ScriptedUpstream
from tests.support.span_sink import SpanSink

PRICES = {
    "scripted": {"input_per_million": "1.00", "output_per_million": "2.00", "cached_input_per_million": "0.10"},
    "text-embedding-3-small": {"input_per_million": "0.02"},
}

StartEngine = Callable[..., AbstractAsyncContextManager[str]]


@pytest.fixture
async def upstream() -> AsyncGenerator[ScriptedUpstream]:
    async with ScriptedUpstream() as server:
        yield server


@pytest.fixture
async def sink() -> AsyncGenerator[SpanSink]:
    async with SpanSink() as server:
        yield server


@pytest.fixture
def start_engine(upstream: ScriptedUpstream, sink: SpanSink) -> StartEngine:
    """`async with start_engine(timeouts={...}, settings={...}) as url`: keywords go into the upstream `up`."""

    @contextlib.asynccontextmanager
    async def start(*, settings: dict[str, Any] | None = None, **config: Any) -> AsyncGenerator[str]:
        up = {"name": "up", "base_url": upstream.url, "prices": PRICES, "api_key": "sk-upstream-key", **config}
        given = {"upstreams": [up], "model_aliases": {"small": "up/scripted"}, "prompt_url": sink.url}
        async with serving(create_app(load_settings(LlmSettings, **(given | (settings or {}))))) as url:
            yield url

    return start


@pytest.fixture
async def engine(start_engine: StartEngine) -> AsyncGenerator[str]:
    """Address of an engine with the default settings."""
    async with start_engine() as url:
        yield url


@pytest.fixture
async def openai(engine: str) -> AsyncGenerator[AsyncOpenAI]:
    """The official client, its own retries off."""
    async with AsyncOpenAI(base_url=f"{engine}/v1", api_key="sk-caller-key", max_retries=0) as client:
        yield client
