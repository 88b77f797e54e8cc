"""What the gateway refuses outside of the calls says why to OpenAI's client; a typo in an alias stops the start."""

from typing import Any

import pytest
from openai import APIStatusError, AsyncOpenAI

from llm_service.settings import LlmSettings
from studio.errors import SettingsError
from studio.settings import load_settings
from tests.support.llm_engine import StartEngine
from tests.support.span_sink import SpanSink

HELLO: Any = [{"role": "user", "content": "hello"}]


async def refused(base_url: str, content: str = "x") -> APIStatusError:
    async with AsyncOpenAI(base_url=base_url, api_key="sk-caller", max_retries=0) as client:
        with pytest.raises(APIStatusError) as caught:
            await client.chat.completions.create(model="small", messages=[{"role": "user", "content": content}])
    return caught.value


class TestTheOfficialClientPrintsWhy:
    async def test_base_url_without_v1(self, engine: str) -> None:
        error = await refused(engine)
        assert error.status_code == 404
        assert "The base URL of an OpenAI client ends with /v1" in str(error)

    async def test_a_path_that_nobody_serves(self, engine: str) -> None:
        error = await refused(f"{engine}/v1/nothing")
        assert "Not Found: POST /v1/nothing/chat/completions" in str(error)

    async def test_a_method_that_nobody_serves(self, engine: str) -> None:
        async with AsyncOpenAI(base_url=f"{engine}/v1", api_key="sk-caller", max_retries=0) as client:
            with pytest.raises(APIStatusError, match="Method Not Allowed: DELETE /v1/models"):
                await client.delete("/models", cast_to=object)

    async def test_a_body_too_large_also_leaves_a_span(self, start_engine: StartEngine, sink: SpanSink) -> None:
        async with start_engine(settings={"max_body_bytes": 1024}) as url:
            error = await refused(f"{url}/v1", "x" * 2000)
        assert error.status_code == 413
        assert "larger than the limit of 1024 bytes (STUDIO_MAX_BODY_BYTES)" in str(error)
        span = await sink.one()
        assert (span.status, span.error_type) == ("error", "payload-too-large")

    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({"Host": "elsewhere.example"}, 421),
            ({"Origin": "https://elsewhere.example"}, 403),
            ({"Content-Encoding": "gzip"}, 415),
        ],
    )
    @pytest.mark.parametrize("path", ["/chat/completions", "/responses", "/models"])
    async def test_what_is_refused_before_it_reaches_a_path(
        self, engine: str, path: str, headers: dict[str, str], status: int
    ) -> None:
        async with AsyncOpenAI(base_url=f"{engine}/v1", api_key="sk-caller", max_retries=0) as client:
            with pytest.raises(APIStatusError) as caught:
                await client.post(path, body={}, cast_to=object, options={"headers": headers})
        assert caught.value.status_code == status
        error: Any = caught.value.body
        assert (error["type"], error["message"] in str(caught.value)) == ("invalid_request_error", True)


class TestAliases:
    @pytest.mark.parametrize(
        ("target", "says"),
        [
            ("any", "names none of the upstreams"),
            ("typo/m", "names none of the upstreams"),
            ("good", "write UPSTREAM/MODEL"),
            ("good/", "write UPSTREAM/MODEL"),
            ("good/typo", "which is none of good's models"),
            ("named/typo", "which is none of named's models"),
        ],
    )
    def test_a_target_that_does_not_exist_stops_the_start(self, target: str, says: str) -> None:
        upstreams = [
            {"name": "good", "base_url": "http://x", "models": ["m"]},
            {"name": "named", "base_url": "http://x", "models": {"short": "long"}},
        ]
        with pytest.raises(SettingsError, match=says) as caught:
            load_settings(LlmSettings, upstreams=upstreams, model_aliases={"mine": target})
        assert "'mine'" in str(caught.value)

    @pytest.mark.parametrize("target", ["good/m", "named/short", "named/long", "open/whatever"])
    def test_one_that_may_exist_does_not(self, target: str) -> None:
        upstreams = [
            {"name": "good", "base_url": "http://x", "models": ["m"]},
            {"name": "named", "base_url": "http://x", "models": {"short": "long"}},
            {"name": "open", "base_url": "http://x"},
        ]
        load_settings(LlmSettings, upstreams=upstreams, model_aliases={"mine": target})
