import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

MESSAGES = [{"role": "user", "content": "Tell me about the sea."}]


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


async def _busy(session: aiohttp.ClientSession, url: str) -> bool:
    async with session.get(f"{url}/slots") as answer:
        return any(slot["is_processing"] for slot in await answer.json())


class TestOpenAiApi:
    async def test_chat_streams_with_usage(self, model_url: str, session: aiohttp.ClientSession) -> None:
        body = {"messages": MESSAGES, "max_tokens": 8, "stream": True, "stream_options": {"include_usage": True}}
        async with session.post(f"{model_url}/v1/chat/completions", json=body) as answer:
            lines = [line async for line in answer.content if line.startswith(b"data: {")]
        events: list[Any] = [json.loads(line[6:]) for line in lines]
        assert events[-1]["usage"]["completion_tokens"] == 8
        assert len([event for event in events if event["choices"] and event["choices"][0]["delta"].get("content")]) == 8

    async def test_text(self, model_url: str, session: aiohttp.ClientSession) -> None:
        body = {"prompt": "Once upon a", "max_tokens": 4, "temperature": 0}
        async with session.post(f"{model_url}/v1/completions", json=body) as answer:
            said = await answer.json()
        assert said["choices"][0]["text"].startswith(" time")
        assert said["usage"]["completion_tokens"] == 4

    async def test_models(self, model_url: str, session: aiohttp.ClientSession) -> None:
        async with session.get(f"{model_url}/v1/models") as answer:
            assert [model["id"] for model in (await answer.json())["data"]] == ["smollm2"]


class TestCallerLeaves:
    async def test_it_stops_generating(self, model_url: str, session: aiohttp.ClientSession) -> None:
        body = {"messages": MESSAGES, "max_tokens": 4000, "stream": True, "ignore_eos": True}
        async with session.post(f"{model_url}/v1/chat/completions", json=body) as answer:
            await answer.content.readline()
            assert await _busy(session, model_url)
            answer.close()
        deadline = time.monotonic() + 5
        while (busy := await _busy(session, model_url)) and time.monotonic() < deadline:  # noqa: ASYNC110 - a server
            await asyncio.sleep(0.05)
        assert not busy
