"""Keys that people write into the params of an agent, of an alias or of a call are kept nowhere."""

from pathlib import Path
from typing import Any

import pytest

from llm_service.settings import LlmSettings
from studio.contracts.base import JsonObject
from studio.contracts.secret_names import find_secret_name
from studio.errors import SettingsError
from studio.settings import load_settings
from tests.llm_service.test_faults import chat, post
from tests.support.databases import sqlite_database
from tests.support.scripted_upstream import ScriptedUpstream
from tests.support.services import api_settings, serving_api
from tests.support.span_sink import SpanSink

KEY = "sk-canary-4711"
SECRET: list[JsonObject] = [
    {"api_key": KEY},
    {"apiKey": KEY},
    {"openai-api-key": KEY},
    {"extra_headers": {"Authorization": f"Bearer {KEY}"}},
    {"extra_body": {"litellm": [{"aws_secret_access_key": KEY}]}},
    {"hf_token": KEY},
    {"X-API-Key": KEY},
    {"password": KEY},
]
PLAIN: list[JsonObject] = [
    {"max_tokens": 5, "stop": ["token"], "logit_bias": {"50256": -100}},
    {"eos_token": "</s>", "stop_token_ids": [1], "tokenizer": "x", "secretary": "y"},
    {"tools": [{"function": {"parameters": {"properties": {"password": {"type": "string"}, "api_key": {}}}}}]},
]


class TestAgents:
    async def test_are_refused_when_they_are_stored(self, tmp_path: Path) -> None:
        async with serving_api(api_settings(tmp_path, database_url=sqlite_database(tmp_path))) as api:
            for number, params in enumerate(SECRET):
                problem = (await api.post("/agents", {"name": "a", "params": params})).problem(422, "invalid-input")
                assert "STUDIO_UPSTREAMS" in problem["detail"]
                assert KEY not in str(problem)
                step: JsonObject = {"id": "s", "agent": {"message": "x", "params": params}}
                workflow = {"name": f"w{number}", "pattern": "sequential", "steps": [step]}
                (await api.post("/workflows", workflow)).problem(422, "invalid-input")
            for number, params in enumerate(PLAIN):
                (await api.post("/agents", {"name": f"p{number}", "params": params})).ok(201)


class TestGateway:
    @pytest.mark.parametrize("params", SECRET, ids=lambda params: next(iter(params)))
    async def test_of_a_call_go_through_and_are_not_recorded(
        self, engine: str, upstream: ScriptedUpstream, sink: SpanSink, params: JsonObject
    ) -> None:
        await post(engine, chat("x", temperature=0.5, **params))
        assert upstream.calls[0].body.items() >= params.items()
        assert (await sink.one()).params == {"temperature": 0.5}

    def test_of_an_alias_stop_the_start(self) -> None:
        aliases = {"a": {"model": "up/m", "params": {"api_key": KEY}}}
        with pytest.raises(SettingsError, match="api_key") as refused:
            load_settings(LlmSettings, upstreams=[{"name": "up", "base_url": "http://x"}], model_aliases=aliases)
        assert KEY not in str(refused.value)


@pytest.mark.parametrize("value", [*PLAIN, None, 5, "api_key", [["api_key"]], {"api_key": ""}, {"api_key": None}])
def test_what_is_no_key(value: Any) -> None:
    assert find_secret_name(value) is None
