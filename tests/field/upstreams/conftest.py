from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from tests.support.hostile_upstream import HostileUpstream
from tests.support.llm_engine import engine, openai, sink, start_engine, upstream
from tests.support.llm_process import LlmProcess, llm_process
from tests.support.misbehaviours import ANSWER_LIMIT, EXTRA, KEY, MISBEHAVIOURS
from tests.support.scripted_upstream import ScriptedUpstream
from tests.support.span_sink import SpanSink

__all__ = ["engine", "openai", "sink", "start_engine", "upstream"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--hostile-calls", type=int, default=300, help="calls of the hostile upstream in random order")


@pytest.fixture
async def hostile() -> AsyncGenerator[HostileUpstream]:
    async with HostileUpstream(MISBEHAVIOURS) as server:
        yield server


def upstreams_of(hostile: HostileUpstream, upstream: ScriptedUpstream) -> list[dict[str, Any]]:
    """The hostile one, with secrets to find and deadlines that pass soon, and a good one beside it."""
    price = {"input_per_million": "1", "output_per_million": "1"}
    bad = {
        "name": "hostile",
        "base_url": hostile.url,
        "api_key": KEY,
        "headers": {"X-Extra": EXTRA},
        "retries": 1,
        "timeouts": {"connect": 5, "first_byte": 3, "idle": 2, "total": 20},
        "max_answer_bytes": ANSWER_LIMIT,
    }
    good = {"name": "good", "base_url": upstream.url, "prices": {"scripted": price}}
    return [bad, good]


@pytest.fixture
async def llm(
    tmp_path: Path, hostile: HostileUpstream, upstream: ScriptedUpstream, sink: SpanSink
) -> AsyncGenerator[LlmProcess]:
    """The LLM engine in front of both, with the log that it writes in production."""
    async with llm_process(tmp_path, upstreams_of(hostile, upstream), PROMPT_URL=sink.url) as process:
        yield process
