"""Tokens and money, in the shapes in which providers report them.

The reference for amounts is genai-prices; for Anthropic's counts its documentation: "total input tokens in a request is
the summation of input_tokens, cache_creation_input_tokens, and cache_read_input_tokens".
"""

import itertools
import json
from decimal import Decimal
from typing import Any

import pytest
from genai_prices import Usage as GenaiUsage
from genai_prices import calc_price
from hypothesis import given
from hypothesis import strategies as st

from llm_service.pricing import PriceList
from llm_service.settings import ModelPrice, UpstreamConfig
from studio.contracts.base import JsonObject
from studio.contracts.llm import Usage, UsageReader, read_usage
from tests.llm_service.test_faults import chat, post
from tests.support.llm_engine import StartEngine
from tests.support.scripted_upstream import Reply, ScriptedUpstream
from tests.support.span_sink import SpanSink

counts = st.integers(0, 10_000)
CLAUDE = ModelPrice(
    input_per_million=Decimal(3), output_per_million=Decimal(15), cached_input_per_million=Decimal("0.3")
)


def usage_of(raw: JsonObject) -> Usage:
    found = read_usage(raw)
    assert found is not None
    return found


def prices(base_url: str = "http://127.0.0.1:1/v1", kind: Any = "openai", **by_model: ModelPrice) -> PriceList:
    return PriceList([UpstreamConfig(name="up", base_url=base_url, kind=kind, prices=by_model)])


class TestCachedInputBesideTheInput:
    """Anthropic counts cached input apart; OpenAI, and LiteLLM with Anthropic's names, inside the prompt."""

    @pytest.mark.parametrize(
        "raw",
        [
            {
                "input_tokens": 10,
                "output_tokens": 5,
                "cache_read_input_tokens": 1000,
                "cache_creation_input_tokens": 200,
            },
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 1215,
                "cache_read_input_tokens": 1000,
                "cache_creation_input_tokens": 200,
            },
            {  # the total leaves the cache out, too
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 15,
                "cache_read_input_tokens": 1000,
                "cache_creation_input_tokens": 200,
            },
            {
                "prompt_tokens": 1210,
                "completion_tokens": 5,
                "total_tokens": 1215,
                "cache_read_input_tokens": 1000,
                "cache_creation_input_tokens": 200,
            },
            {  # LiteLLM
                "prompt_tokens": 1210,
                "completion_tokens": 5,
                "cache_read_input_tokens": 1000,
                "cache_creation_input_tokens": 200,
                "prompt_tokens_details": {"cached_tokens": 1000},
            },
            {
                "prompt_tokens": 1210,
                "completion_tokens": 5,
                "total_tokens": 1215,
                "prompt_tokens_details": {"cached_tokens": 1000, "cache_creation_tokens": 200},
            },
        ],
    )
    def test_the_prompt_is_all_input(self, raw: JsonObject) -> None:
        usage = usage_of(raw)
        assert (usage.prompt_tokens, usage.cached_tokens, usage.cache_write_tokens) == (1210, 1000, 200)
        assert (usage.completion_tokens, usage.total_tokens) == (5, 1215)
        assert prices(claude=CLAUDE).cost("up", "claude", usage).usd == Decimal("0.001005")

    @given(fresh=counts, read=counts, written=counts, output=counts)
    def test_costs_what_genai_prices_says(self, fresh: int, read: int, written: int, output: int) -> None:
        usage = usage_of(
            {
                "input_tokens": fresh,
                "output_tokens": output,
                "cache_read_input_tokens": read,
                "cache_creation_input_tokens": written,
            }
        )
        expected = calc_price(
            GenaiUsage(
                input_tokens=fresh + read + written,
                output_tokens=output,
                cache_read_tokens=read,
                cache_write_tokens=written,
            ),
            "claude-sonnet-4-5",
        )
        found = prices("https://api.anthropic.com/v1").cost("up", "claude-sonnet-4-5", usage)
        assert found.usd == expected.total_price

    @given(fresh=counts, read=counts, written=counts, output=counts, reasoning=counts, says_total=st.booleans())
    def test_a_part_is_never_larger_than_its_whole(
        self, fresh: int, read: int, written: int, output: int, reasoning: int, says_total: bool
    ) -> None:
        inside = {"cached_tokens": read, "cache_write_tokens": written}
        usage = usage_of(
            {
                "prompt_tokens": fresh,
                "completion_tokens": output,
                "prompt_tokens_details": inside,
                **({"total_tokens": fresh + output} if says_total else {}),
                "completion_tokens_details": {"reasoning_tokens": reasoning},
            }
        )
        assert usage.cached_tokens + usage.cache_write_tokens <= usage.prompt_tokens
        assert usage.reasoning_tokens <= usage.completion_tokens
        assert usage.total_tokens >= usage.prompt_tokens + usage.completion_tokens

    def test_reasoning_beside_the_completion_is_paid(self) -> None:
        """xAI's way: the total says so."""
        usage = usage_of(
            {
                "prompt_tokens": 10,
                "completion_tokens": 9,
                "total_tokens": 24,
                "completion_tokens_details": {"reasoning_tokens": 5},
            }
        )
        assert (usage.completion_tokens, usage.reasoning_tokens, usage.total_tokens) == (14, 5, 24)


WHOLE: JsonObject = {
    "prompt_tokens": 30,
    "completion_tokens": 7,
    "total_tokens": 37,
    "prompt_tokens_details": {"cached_tokens": 20},
}
ZEROS: JsonObject = {
    "prompt_tokens": 0,
    "completion_tokens": 0,
    "total_tokens": 0,
    "prompt_tokens_details": {"cached_tokens": 0},
}
SHAPES: dict[str, list[JsonObject | None]] = {
    "split": [
        {"prompt_tokens": 30, "prompt_tokens_details": {"cached_tokens": 20}},
        None,
        {"completion_tokens": 7},
    ],
    "split with totals": [
        {**WHOLE, "completion_tokens": 0, "total_tokens": 30},
        {**ZEROS, "completion_tokens": 7, "total_tokens": 7},
    ],
    "split off details": [
        {"prompt_tokens": 30, "completion_tokens": 7, "total_tokens": 37},
        {"prompt_tokens_details": {"cached_tokens": 20}},
    ],
    "zeros at the end": [WHOLE, ZEROS],
    "zeros at the beginning": [ZEROS, {}, WHOLE],
    "cumulative": [{**WHOLE, "completion_tokens": so_far, "total_tokens": 30 + so_far} for so_far in range(8)],
}


class TestUsageOverSeveralChunks:
    @pytest.mark.parametrize("shape", SHAPES)
    def test_is_put_together(self, shape: str) -> None:
        reader = UsageReader()
        found = [reader.read(raw) for raw in SHAPES[shape]]
        assert found[-1] == read_usage(WHOLE)

    @pytest.mark.parametrize(("shape", "asked"), list(itertools.product(SHAPES, [True, False])))
    async def test_costs_what_the_whole_answer_costs(
        self, engine: str, upstream: ScriptedUpstream, sink: SpanSink, shape: str, asked: bool
    ) -> None:
        text: JsonObject = {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}
        usages: list[JsonObject] = [{"choices": [], "usage": raw} for raw in SHAPES[shape]]
        parts = [text, *usages]
        upstream.when("hello", Reply(raw=[f"data: {json.dumps(part)}\n\n" for part in parts] + ["data: [DONE]\n\n"]))
        _, _, body = await post(engine, chat(stream=True, stream_options={"include_usage": asked}))
        span = await sink.one()
        assert (span.prompt_tokens, span.completion_tokens, span.cached_tokens) == (30, 7, 20)
        assert span.cost_usd == Decimal("0.000026")
        assert (b'"cost_usd":"0.000026"' in body) is asked


class TestPricesThatNobodyGave:
    @pytest.mark.parametrize(
        "model",
        [
            *("deepseek-r1:8b", "deepseek-r1:1.5b", "mixtral-8x7b", "gpt-oss-20b", "kimi-k2", "llama3.2"),
            *("deepseek/deepseek-chat:free", "gpt-4o", "openai/gpt-4o", "claude-sonnet-4-5", "text-embedding-3-small"),
        ],
    )
    @pytest.mark.parametrize("base_url", ["http://127.0.0.1:11434/v1", "https://models.example/v1"])
    def test_a_name_at_an_unknown_address_has_none(self, base_url: str, model: str) -> None:
        assert prices(base_url).cost("up", model, Usage(prompt_tokens=100)).usd is None

    @pytest.mark.parametrize(
        ("base_url", "provider", "model"),
        [
            ("https://api.openai.com/v1", "openai", "gpt-4o"),
            ("https://api.anthropic.com/v1", "anthropic", "claude-sonnet-4-5"),
            ("https://generativelanguage.googleapis.com/v1beta/openai", "google", "gemini-2.5-flash"),
            ("https://openrouter.ai/api/v1", "openrouter", "deepseek/deepseek-chat"),
        ],
    )
    def test_a_known_provider_has_its_own(self, base_url: str, provider: str, model: str) -> None:
        usage = Usage(prompt_tokens=1000, completion_tokens=10)
        expected = calc_price(GenaiUsage(input_tokens=1000, output_tokens=10), model, provider_id=provider)
        cost = prices(base_url).cost("up", model, usage)
        assert (cost.usd, cost.source) == (expected.total_price, "computed")

    @pytest.mark.parametrize("model", ["ollama/deepseek-r1:8b", "hosted_vllm/gpt-oss-20b", "team/gpt-4o"])
    def test_litellm_with_a_server_of_ones_own(self, model: str) -> None:
        assert prices(kind="litellm").cost("up", model, Usage(prompt_tokens=100)).usd is None

    def test_one_price_for_all_others(self) -> None:
        config = UpstreamConfig.model_validate(
            {"name": "up", "base_url": "http://127.0.0.1:1", "prices": {"*": 0, "big": {"input_per_million": 2}}}
        )
        usage = Usage(prompt_tokens=1_000_000)
        found = {model: PriceList([config]).cost("up", model, usage) for model in ("any", "big")}
        assert {model: (cost.usd, cost.source) for model, cost in found.items()} == {
            "any": (0, "computed"),
            "big": (2, "computed"),
        }

    @pytest.mark.parametrize("price", [5, "free", False, {}, {"input_per_million": -1}])
    def test_a_price_that_says_too_little_is_refused(self, price: Any) -> None:
        with pytest.raises(ValueError, match="prices"):
            UpstreamConfig.model_validate({"name": "up", "base_url": "http://127.0.0.1:1", "prices": {"m": price}})


class TestCostThatTheProviderReports:
    """OpenRouter's `usage.cost` and Perplexity's `usage.cost.total_cost`, as their documentation has them."""

    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize("cost", [0.00014, {"input_tokens_cost": 0.0001, "total_cost": 0.00014}])
    async def test_is_the_cost(
        self, start_engine: StartEngine, upstream: ScriptedUpstream, sink: SpanSink, cost: Any, stream: bool
    ) -> None:
        upstream.default = Reply(usage={"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "cost": cost})
        async with start_engine(prices={}) as url:
            _, headers, body = await post(url, chat(stream=stream, stream_options={"include_usage": True}))
        span = await sink.one()
        assert (span.cost_usd, span.cost_source) == (Decimal("0.00014"), "provider")
        assert "0.00014" in (body.decode() if stream else headers["x-studio-cost-usd"])

    async def test_a_price_of_ones_own_goes_before(
        self, engine: str, upstream: ScriptedUpstream, sink: SpanSink
    ) -> None:
        upstream.default = Reply(usage={"prompt_tokens": 1_000_000, "completion_tokens": 0, "cost": 7})
        await post(engine, chat())
        span = await sink.one()
        assert (span.cost_usd, span.cost_source) == (Decimal(1), "computed")

    @pytest.mark.parametrize("cost", [-1, 1e19, "0.5", True, None, [], {}, {"total_cost": "much"}])
    async def test_nonsense_is_no_cost(
        self, start_engine: StartEngine, upstream: ScriptedUpstream, sink: SpanSink, cost: Any
    ) -> None:
        upstream.default = Reply(usage={"prompt_tokens": 10, "completion_tokens": 5, "cost": cost})
        async with start_engine(prices={}) as url:
            status, _, _ = await post(url, chat())
        span = await sink.one()
        assert (status, span.prompt_tokens) == (200, 10)
        assert (span.cost_usd, span.cost_source) == (None, "unpriced")
