from decimal import Decimal

import pytest
from genai_prices import Usage as GenaiUsage
from genai_prices import calc_price

from llm_service.pricing import PriceList, format_usd
from llm_service.settings import ModelPrice, UpstreamConfig
from studio.contracts.llm import Usage

USAGE = Usage(prompt_tokens=300_000, completion_tokens=1_000, cached_tokens=120_000)


def price_list(base_url: str = "http://127.0.0.1:1", prices: dict[str, ModelPrice] | None = None) -> PriceList:
    """Of a LiteLLM, which serves any provider's models."""
    return PriceList([UpstreamConfig(name="up", kind="litellm", base_url=base_url, prices=prices or {})])


class TestCost:
    @pytest.mark.parametrize("model", ["gpt-4o-mini", "gpt-4.1-2025-04-14", "claude-sonnet-4-5", "gemini-2.5-pro"])
    def test_is_what_genai_prices_says(self, model: str) -> None:
        expected = calc_price(
            GenaiUsage(input_tokens=300_000, output_tokens=1_000, cache_read_tokens=120_000), model
        ).total_price
        cost = price_list().cost("up", model, USAGE)
        assert (cost.usd, cost.source) == (expected, "computed")
        assert cost.revision is not None
        assert cost.revision.startswith("genai-prices ")

    def test_by_address_and_by_prefix(self) -> None:
        usage = Usage(prompt_tokens=1_000_000)
        openai = price_list("https://api.openai.com/v1").cost("up", "text-embedding-3-small", usage)
        prefixed = price_list().cost("up", "openai/text-embedding-3-small", usage)
        assert openai.usd == prefixed.usd == Decimal("0.02")

    def test_of_the_configuration_wins(self) -> None:
        price = ModelPrice(input_per_million=Decimal(3), output_per_million=Decimal(7))
        prices = price_list(prices={"gpt-4o-mini": price})
        assert prices.cost("up", "gpt-4o-mini", USAGE).usd == Decimal("0.907")

    def test_a_configured_price_of_nothing_is_nothing(self) -> None:
        cost = price_list(prices={"tiny": ModelPrice(input_per_million=Decimal(0))}).cost("up", "tiny", USAGE)
        assert (cost.usd, cost.source) == (Decimal(0), "computed")

    def test_of_an_unknown_model_is_unknown(self) -> None:
        cost = price_list().cost("up", "smollm2", USAGE)
        assert (cost.usd, cost.source, cost.revision) == (None, "unpriced", None)

    def test_audio_is_not_priced_as_text(self) -> None:
        audio = Usage(prompt_tokens=10, completion_tokens=10, audio_tokens=5)
        assert price_list().cost("up", "gpt-4o", audio).usd is None


@pytest.mark.parametrize(
    ("usd", "text"), [("0.0000120", "0.000012"), ("1E-7", "0.0000001"), ("3", "3"), ("10.00", "10"), ("0", "0")]
)
def test_format_usd(usd: str, text: str) -> None:
    assert format_usd(Decimal(usd)) == text
