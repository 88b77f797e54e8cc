"""Workflow runs whose model is behind a hostile upstream: each can be read, each ends, none holds a key."""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import orjson
import pytest

from studio.contracts.base import JsonObject
from studio.contracts.ids import IdPrefix, new_id
from tests.field.upstreams.conftest import upstreams_of
from tests.support.databases import sqlite_database
from tests.support.hostile_upstream import HostileUpstream, Misbehaviour
from tests.support.llm_process import LlmProcess, llm_process
from tests.support.misbehaviours import MISBEHAVIOURS, SPELLINGS
from tests.support.platform import Engine, open_engine, worker_settings
from tests.support.scripted_upstream import ScriptedUpstream
from tests.support.services import SECRET_KEY, RunningApi, api_settings, serving_api
from tests.support.span_sink import SpanSink

ERROR_TYPES = {"upstream_error", "rate_limited", "invalid_request"}
AT_ONCE = 12
STREAMED = [one for one in MISBEHAVIOURS if not one.slow]


@dataclass(frozen=True)
class Platform:
    api: RunningApi
    engine: Engine
    llm: LlmProcess
    sink: SpanSink
    folder: Path

    async def agent_run(self, model: str) -> JsonObject:
        """A run of one agent with this model, once it has ended. A step gets two attempts."""
        name = "w-" + model.replace("/", "-").lower()
        agent = {"name": name, "model": model, "message": "hello"}
        (await self.api.post("/agents", agent)).ok(201)
        steps = [{"id": "answer", "agent": name, "retry": RETRY}]
        document = {"name": name, "pattern": "sequential", "steps": steps, "output": "${{ steps.answer.output }}"}
        (await self.api.post("/workflows", document)).ok(201)
        run_id = (await self.api.post(f"/workflows/{name}/runs", {})).ok(202)["id"]
        return await self.api.finished(run_id, seconds=120)


RETRY = {"max_attempts": 2, "initial_interval": "100ms"}


@asynccontextmanager
async def platform(
    folder: Path, temporal_address: str, redis_url: str, hostile: HostileUpstream, upstream: ScriptedUpstream
) -> AsyncGenerator[Platform]:
    async with SpanSink() as sink, llm_process(folder, upstreams_of(hostile, upstream), PROMPT_URL=sink.url) as llm:
        shared: dict[str, Any] = {
            "temporal_address": temporal_address,
            "redis_url": redis_url,
            "database_url": sqlite_database(folder),
            "secret_keys": [SECRET_KEY],
            "prompt_url": sink.url,
            "temporal_task_queue": new_id(IdPrefix.RUN),
        }
        settings = worker_settings(folder, llm_url=llm.url, **shared)
        async with (
            open_engine(settings, upstream, sink) as engine,
            serving_api(api_settings(folder, **shared), migrated=False) as api,
        ):
            yield Platform(api, engine, llm, sink, folder)


@pytest.fixture
async def stack(
    tmp_path: Path, temporal_address: str, redis_url: str, hostile: HostileUpstream, upstream: ScriptedUpstream
) -> AsyncGenerator[Platform]:
    async with platform(tmp_path, temporal_address, redis_url, hostile, upstream) as running:
        yield running


def is_right(one: Misbehaviour, run: JsonObject) -> bool:
    if one.streamed is None or one.verdict == "either":
        return True
    if one.verdict == "failed":
        return run["status"] == "failed" and run["error"]["type"] in {
            "upstream_error",
            "rate_limited",
            "invalid_request",
        }
    usage = run["usage"]
    counted = (usage["prompt_tokens"], usage["completion_tokens"])
    return run["status"] == "succeeded" and (one.tokens is None or counted == one.tokens)


def holds_secret(text: str) -> list[str]:
    return [spelling for spelling in SPELLINGS if spelling in text]


@pytest.mark.timeout(900)  # for many more calls than by default
async def test_every_run_is_readable_and_ends_as_its_answer_did(
    stack: Platform, capfd: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    count = cast("int", request.config.getoption("--hostile-calls", default=300)) // 10
    chance = random.Random(count)
    chosen = chance.sample(STREAMED, min(count, len(STREAMED)))
    waiting = iter(chosen)
    runs: dict[str, JsonObject] = {}

    async def work() -> None:
        for one in waiting:
            runs[one.name] = await stack.agent_run(f"hostile/{one.name}")

    await asyncio.gather(*(work() for _ in range(AT_ONCE)), stack.agent_run("good/scripted"))

    wrong = [f"{one.name}: {runs[one.name]}"[:600] for one in chosen if not is_right(one, runs[one.name])]
    assert wrong == []
    for one in chosen:
        run_id = runs[one.name]["id"]
        events = (await stack.api.request("GET", f"/runs/{run_id}/events", headers={"Accept": "application/json"})).ok()
        assert not holds_secret(orjson.dumps([runs[one.name], events]).decode()), one.name
        assert (await stack.api.post(f"/runs/{run_id}/cancel")).status < 500, one.name
        assert (await stack.api.post(f"/runs/{run_id}/terminate")).status < 500, one.name
    listed = (await stack.api.get("/runs", limit=200)).ok()["items"]
    assert len(listed) == len(chosen) + 1
    stored = b"".join(path.read_bytes() for path in stack.folder.rglob("*") if path.is_file())
    captured = capfd.readouterr()
    everything = stored.decode(errors="replace") + captured.out + captured.err
    assert holds_secret(everything) == []  # the databases and the log of the LLM engine among it
    assert [span for span in stack.sink.spans if holds_secret(span.model_dump_json())] == []
