"""What a call costs: prices from the upstream's configuration, else what the provider says that it charged, else the
genai-prices package for providers that it knows, else no price at all."""

import time
from dataclasses import dataclass
from decimal import Decimal
from importlib.metadata import version
from typing import Literal, Protocol

from genai_prices import Usage as GenaiUsage
from genai_prices import calc_price
from genai_prices.types import PriceCalculation

from llm_service.settings import ANY_MODEL, ModelPrice, UpstreamConfig
from studio.contracts.llm import Usage

MILLION = Decimal(1_000_000)
PRICE_SECONDS = 300.0
"""How long a looked-up price is used: some providers' prices depend on the time of day."""


@dataclass(frozen=True, slots=True)
class Cost:
    """`usd` is None when the model has no price: that is not the same as 0."""

    usd: Decimal | None
    source: Literal["provider", "computed", "unpriced"]
    revision: str | None


UNPRICED = Cost(None, "unpriced", None)


def format_usd(usd: Decimal) -> str:
    """Plain digits, no exponent, no trailing zeros."""
    text = format(usd, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


class _Tariff(Protocol):
    def cost(self, usage: Usage) -> Cost: ...


class _Unpriced:
    def cost(self, usage: Usage) -> Cost:
        return UNPRICED


class _Reported:
    """What the provider says that it charged, when it does."""

    def __init__(self, otherwise: _Tariff) -> None:
        self._otherwise = otherwise

    def cost(self, usage: Usage) -> Cost:
        if usage.reported_cost_usd is not None:
            return Cost(usage.reported_cost_usd, "provider", None)
        return self._otherwise.cost(usage)


class _PerToken:
    """The same price for every token of a kind."""

    def __init__(
        self, fresh: Decimal, cached: Decimal, written: Decimal, completion: Decimal, *, revision: str, audio: bool
    ) -> None:
        self._fresh = fresh / MILLION
        self._cached = cached / MILLION
        self._written = written / MILLION
        self._completion = completion / MILLION
        self._revision = revision
        self._audio = audio

    def cost(self, usage: Usage) -> Cost:
        if usage.audio_tokens and not self._audio:
            return UNPRICED  # audio has a price of its own, and usage does not say on which side it was
        fresh = max(0, usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens)
        usd = fresh * self._fresh + usage.completion_tokens * self._completion
        if usage.cached_tokens:
            usd += usage.cached_tokens * self._cached
        if usage.cache_write_tokens:
            usd += usage.cache_write_tokens * self._written
        return Cost(usd, "computed", self._revision)


class _Looked:
    """A price with tiers: asked of genai-prices for every call."""

    def __init__(self, found: PriceCalculation, revision: str) -> None:
        self._model = found.model.id
        self._provider = found.provider.id
        self._revision = revision

    def cost(self, usage: Usage) -> Cost:
        if usage.audio_tokens:
            return UNPRICED
        price = calc_price(_genai_usage(usage), self._model, provider_id=self._provider)
        return Cost(price.total_price, "computed", self._revision)


def _genai_usage(usage: Usage) -> GenaiUsage:
    return GenaiUsage(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        cache_read_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
    )


class PriceList:
    """Prices of all configured upstreams; a lookup is kept for a few minutes, since one takes 75 µs."""

    def __init__(self, upstreams: list[UpstreamConfig]) -> None:
        self._upstreams = {upstream.name: upstream for upstream in upstreams}
        self._genai_revision = f"genai-prices {version('genai-prices')}"
        self._tariffs: dict[tuple[str, str], tuple[float, _Tariff]] = {}

    def cost(self, upstream: str, model: str, usage: Usage) -> Cost:
        """What `usage` of the upstream's `model` costs."""
        now = time.monotonic()
        known = self._tariffs.get((upstream, model))
        if known is None or known[0] < now:
            known = (now + PRICE_SECONDS, self._tariff(self._upstreams[upstream], model))
            self._tariffs[upstream, model] = known
        return known[1].cost(usage)

    def _tariff(self, upstream: UpstreamConfig, model: str) -> _Tariff:
        configured = upstream.prices.get(model) or upstream.prices.get(ANY_MODEL)
        if configured is not None:
            return _configured(configured)
        found = _look_up(upstream, model)
        return _Reported(_Unpriced() if found is None else _from_genai(found, self._genai_revision))


def _configured(price: ModelPrice) -> _Tariff:
    fresh = price.input_per_million
    cached, written = price.cached_input_per_million, price.cache_write_per_million
    return _PerToken(
        fresh,
        fresh if cached is None else cached,
        fresh if written is None else written,
        price.output_per_million,
        revision="configured",
        audio=True,
    )


def _look_up(upstream: UpstreamConfig, model: str) -> PriceCalculation | None:
    """By the provider at the upstream's address. LiteLLM serves any provider's models: by the one before the slash, or
    by the model's name alone. At any other address a name says nothing about the price.
    """
    nothing = GenaiUsage(input_tokens=0)
    attempts = [lambda: calc_price(nothing, model, provider_api_url=upstream.base_url)]
    if upstream.kind == "litellm":
        provider, _, rest = model.partition("/")
        if rest:
            attempts.append(lambda: calc_price(nothing, rest, provider_id=provider))
        else:
            attempts.append(lambda: calc_price(nothing, model))
            attempts.append(lambda: calc_price(nothing, model, provider_id="openai"))
    for attempt in attempts:
        try:
            return attempt()
        except (LookupError, ValueError):  # no such provider or model; no price for this time
            continue
    return None


def _from_genai(found: PriceCalculation, revision: str) -> _Tariff:
    price = found.model_price
    fresh, completion = price.input_mtok, price.output_mtok
    cached = price.cache_read_mtok if price.cache_read_mtok is not None else fresh
    written = price.cache_write_mtok if price.cache_write_mtok is not None else fresh
    completion = Decimal(0) if completion is None else completion
    if (
        price.requests_kcount is None
        and isinstance(fresh, Decimal)
        and isinstance(cached, Decimal)
        and isinstance(written, Decimal)
        and isinstance(completion, Decimal)
    ):
        return _PerToken(fresh, cached, written, completion, revision=revision, audio=False)
    return _Looked(found, revision)
