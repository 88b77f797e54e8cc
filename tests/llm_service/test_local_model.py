"""A real model behind the gateway."""

from openai import AsyncOpenAI

from llm_service.app import create_app
from llm_service.settings import LlmSettings
from studio.settings import load_settings
from tests.support.asgi_server import serving
from tests.support.span_sink import SpanSink


class TestLocalModel:
    async def test_chats_streamed_and_not(self, model_url: str, sink: SpanSink) -> None:
        upstreams = [{"name": "local", "base_url": model_url}]
        app = create_app(load_settings(LlmSettings, upstreams=upstreams, prompt_url=sink.url))
        async with (
            serving(app) as url,
            AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=100) as client,
        ):
            whole = await client.chat.completions.create(
                model="default", messages=[{"role": "user", "content": "Say hello."}], max_tokens=4, temperature=0
            )
            stream = await client.chat.completions.create(
                model="local/smollm2",
                messages=[{"role": "user", "content": "Say hello."}],
                max_tokens=4,
                temperature=0,
                stream=True,
            )
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        assert whole.usage is not None
        assert whole.usage.completion_tokens == 4
        assert text == whole.choices[0].message.content
        spans = await sink.wait_for(2)
        assert [span.completion_tokens for span in spans] == [4, 4]
        assert {(span.model, span.upstream, span.status, span.cost_usd) for span in spans} == {
            ("smollm2", "local", "ok", None)
        }
