"""The official client works against `/v1` as against the provider itself."""

from decimal import Decimal

import openai as sdk
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

from tests.support.llm_engine import StartEngine
from tests.support.scripted_upstream import Reply, ScriptedTool, ScriptedUpstream

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]
WEATHER_TOOL: ChatCompletionToolParam = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object"}},
}


class TestChat:
    async def test_answers_with_headers_of_the_gateway(self, openai: AsyncOpenAI, upstream: ScriptedUpstream) -> None:
        upstream.when("hello", Reply(text="Hi there."))
        raw = await openai.chat.completions.with_raw_response.create(model="up/scripted", messages=HELLO)
        completion = raw.parse()
        assert completion.choices[0].message.content == "Hi there."
        assert completion.usage is not None
        assert completion.usage.total_tokens == 12
        assert raw.headers["x-studio-upstream"] == "up"
        assert len(raw.headers["x-studio-trace-id"]) == 32
        assert Decimal(raw.headers["x-studio-cost-usd"]) == Decimal("0.000014")
        assert 0 <= float(raw.headers["x-studio-overhead-ms"]) < 1000

    async def test_what_the_gateway_does_not_know_goes_through_and_nothing_is_added(
        self, openai: AsyncOpenAI, upstream: ScriptedUpstream
    ) -> None:
        await openai.chat.completions.create(
            model="up/scripted",
            messages=HELLO,
            seed=7,
            n=1,
            extra_body={"a_field_of_tomorrow": {"deep": [1, 2.5, None]}},
        )
        body = upstream.calls[0].body
        assert body == {
            "model": "scripted",
            "messages": HELLO,
            "seed": 7,
            "n": 1,
            "a_field_of_tomorrow": {"deep": [1, 2.5, None]},
        }
        assert upstream.calls[0].headers["authorization"] == "Bearer sk-upstream-key"

    async def test_streams(self, openai: AsyncOpenAI, upstream: ScriptedUpstream) -> None:
        upstream.when("hello", Reply(tokens=["One ", "two ", "three."]))
        stream = await openai.chat.completions.create(
            model="small",
            messages=HELLO,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "One two three."
        assert [chunk.usage is not None for chunk in chunks] == [False] * 4 + [True]
        usage = chunks[-1].usage
        assert usage is not None
        assert usage.completion_tokens == 3
        assert usage.model_dump()["cost_usd"] == "0.000016"

    async def test_streams_tool_calls(self, openai: AsyncOpenAI, upstream: ScriptedUpstream) -> None:
        tool = ScriptedTool(name="weather", arguments='{"city": "Oslo"}')
        upstream.when("hello", Reply(tokens=[], tool_calls=[tool]))
        stream = await openai.chat.completions.create(
            model="up/scripted",
            messages=HELLO,
            tools=[WEATHER_TOOL],
            stream=True,
        )
        arguments, names = "", list[str]()
        async for chunk in stream:
            for call in chunk.choices[0].delta.tool_calls or []:
                assert call.function is not None
                arguments += call.function.arguments or ""
                names += [call.function.name] if call.function.name else []
        assert (names, arguments) == (["weather"], '{"city": "Oslo"}')
        assert upstream.calls[0].body["tools"] == [WEATHER_TOOL]

    async def test_the_aliass_parameters_fill_in_only_what_was_left_out(
        self, start_engine: StartEngine, upstream: ScriptedUpstream
    ) -> None:
        aliases = {"calm": {"model": "up/scripted", "params": {"temperature": 0, "max_tokens": 5}}}
        async with start_engine(settings={"model_aliases": aliases}) as url:
            client = AsyncOpenAI(base_url=f"{url}/api/v1", api_key="x")
            await client.chat.completions.create(model="calm", messages=HELLO, max_tokens=9)
            await client.close()
        body = upstream.calls[0].body
        assert (body["temperature"], body["max_tokens"], body["model"]) == (0, 9, "scripted")

    async def test_an_unknown_model_is_a_404_with_a_useful_message(self, openai: AsyncOpenAI) -> None:
        with pytest.raises(sdk.NotFoundError, match="GET /v1/models lists them") as raised:
            await openai.chat.completions.create(model="nowhere/gpt", messages=HELLO)
        assert raised.value.code == "model_not_found"
        assert raised.value.response.headers["content-type"] == "application/problem+json"


class TestText:
    async def test_completes(self, openai: AsyncOpenAI, upstream: ScriptedUpstream) -> None:
        upstream.when("Once", Reply(text=" upon a time"))
        completion = await openai.completions.create(model="up/scripted", prompt="Once")
        assert completion.choices[0].text == " upon a time"

    async def test_streams(self, openai: AsyncOpenAI, upstream: ScriptedUpstream) -> None:
        upstream.when("Once", Reply(tokens=[" upon", " a", " time"]))
        stream = await openai.completions.create(model="up/scripted", prompt="Once", stream=True)
        assert "".join([chunk.choices[0].text async for chunk in stream]) == " upon a time"


class TestEmbeddings:
    async def test_embeds_several_texts(self, openai: AsyncOpenAI) -> None:
        raw = await openai.embeddings.with_raw_response.create(model="up/text-embedding-3-small", input=["a", "b"])
        answer = raw.parse()
        assert [len(item.embedding) for item in answer.data] == [8, 8]
        assert Decimal(raw.headers["x-studio-cost-usd"]) == Decimal("0.00000016")


class TestModels:
    async def test_lists_aliases_and_what_the_upstream_serves(self, openai: AsyncOpenAI) -> None:
        models = [model.id async for model in openai.models.list()]
        assert models == ["small", "up/scripted", "up/gpt-4o-mini", "up/text-embedding-3-small"]

    async def test_gets_one_by_its_path(self, openai: AsyncOpenAI) -> None:
        model = await openai.models.retrieve("up/gpt-4o-mini")
        assert (model.id, model.owned_by) == ("up/gpt-4o-mini", "up")

    async def test_a_model_that_the_upstream_does_not_serve_is_not_found(self, openai: AsyncOpenAI) -> None:
        with pytest.raises(sdk.NotFoundError, match="has no model 'gpt-9'"):
            await openai.models.retrieve("up/gpt-9")

    async def test_configured_models_are_the_only_ones(self, start_engine: StartEngine) -> None:
        settings = {"model_aliases": {"small": "up/tiny"}}
        async with start_engine(models={"tiny": "scripted"}, settings=settings) as url:
            client = AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0)
            assert [model.id async for model in client.models.list()] == ["small", "up/tiny"]
            for name in ("tiny", "up/tiny", "up/scripted", "small"):
                completion = await client.chat.completions.create(model=name, messages=HELLO)
                assert completion.model == "scripted"
            with pytest.raises(sdk.NotFoundError):
                await client.chat.completions.create(model="up/gpt-4o-mini", messages=HELLO)
            await client.close()
