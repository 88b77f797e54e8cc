"""Which models there are, and which upstreams answer."""

import asyncio
import time
from typing import Any, Literal, cast

import aiohttp
import orjson
import structlog

from llm_service.errors import ModelNotFound, UpstreamUnreachable
from llm_service.upstreams.routing import ModelRouter
from llm_service.upstreams.upstream import Upstream
from studio.contracts.base import Contract, JsonObject

LISTING_SECONDS = 3.0
FRESH_SECONDS = 30.0
_log = structlog.get_logger(__name__)


class ModelEntry(Contract):
    """A model in OpenAI's shape."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class ModelList(Contract):
    object: Literal["list"] = "list"
    data: list[ModelEntry]


class UpstreamState(Contract):
    name: str
    kind: str
    models: list[str] | None
    """What callers may name; null: whatever the upstream serves."""
    healthy: bool
    detail: str | None
    latency_ms: float | None


class Catalog:
    """Asks upstreams for their models; an answer is used for half a minute."""

    def __init__(self, upstreams: dict[str, Upstream], router: ModelRouter, session: aiohttp.ClientSession) -> None:
        self._upstreams = upstreams
        self._router = router
        self._session = session
        self._started = int(time.time())
        self._listed: dict[str, tuple[float, list[ModelEntry]]] = {}

    async def check(self, name: str) -> None:
        """Raise `UpstreamUnreachable` unless the upstream answers `/models` and takes our key."""
        await self._ask(self._upstreams[name])

    async def models(self) -> ModelList:
        """Aliases, then each upstream's models as `upstream/model`; an upstream that is down is left out."""
        aliases = [ModelEntry(id=name, created=self._started, owned_by="studio") for name in self._router.aliases]
        found = await asyncio.gather(*(self._models_or_none(upstream) for upstream in self._upstreams.values()))
        return ModelList(data=[*aliases, *(entry for entries in found for entry in entries)])

    async def model(self, asked: str) -> ModelEntry:
        """One model under the name that callers use. Raises `ModelNotFound`, or `UpstreamUnreachable`."""
        target = self._router.resolve(asked)
        if asked in self._router.aliases:
            return ModelEntry(id=asked, created=self._started, owned_by="studio")
        upstream = self._upstreams[target.upstream]
        if upstream.config.models is not None:  # the router has checked it
            return ModelEntry(id=asked, created=self._started, owned_by=upstream.name)
        for entry in await self._models_of(upstream):
            if entry.id == asked:
                return entry
        raise ModelNotFound(f"The upstream {target.upstream!r} has no model {target.model!r}.")

    async def states(self) -> list[UpstreamState]:
        return list(await asyncio.gather(*(self._state(upstream) for upstream in self._upstreams.values())))

    async def _state(self, upstream: Upstream) -> UpstreamState:
        started = time.perf_counter()
        detail = None
        try:
            await self._ask(upstream)
        except UpstreamUnreachable as error:
            detail = error.detail
        models = upstream.config.models
        return UpstreamState(
            name=upstream.name,
            kind=upstream.config.kind,
            models=None if models is None else list(models),
            healthy=detail is None,
            detail=detail,
            latency_ms=None if detail else round((time.perf_counter() - started) * 1000, 3),
        )

    async def _models_or_none(self, upstream: Upstream) -> list[ModelEntry]:
        try:
            return await self._models_of(upstream)
        except UpstreamUnreachable as error:
            _log.warning("models.upstream_left_out", upstream=upstream.name, reason=error.detail)
            return []

    async def _models_of(self, upstream: Upstream) -> list[ModelEntry]:
        configured = upstream.config.models
        if configured is not None:
            return [
                ModelEntry(id=f"{upstream.name}/{name}", created=self._started, owned_by=upstream.name)
                for name in configured
            ]
        known = self._listed.get(upstream.name)
        if known is None or known[0] < time.monotonic():
            entries = [self._entry(upstream.name, model) for model in _models_in(await self._ask(upstream))]
            known = (time.monotonic() + FRESH_SECONDS, entries)
            self._listed[upstream.name] = known
        return known[1]

    def _entry(self, upstream: str, model: JsonObject) -> ModelEntry:
        created = model.get("created")
        return ModelEntry(
            id=f"{upstream}/{model['id']}",
            created=created if isinstance(created, int) else self._started,
            owned_by=upstream,
        )

    async def _ask(self, upstream: Upstream) -> bytes:
        try:
            async with (
                asyncio.timeout(LISTING_SECONDS),
                self._session.get(upstream.url("/models"), headers=upstream.headers()) as answer,
            ):
                body = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            detail = f"The upstream {upstream.name!r} does not answer ({type(error).__name__})."
            raise UpstreamUnreachable(upstream.name, detail) from error
        if answer.status >= 500 or answer.status in {401, 403}:
            detail = f"The upstream {upstream.name!r} answers with status {answer.status}."
            raise UpstreamUnreachable(upstream.name, detail)
        return body if answer.status == 200 else b""


def _models_in(body: bytes) -> list[JsonObject]:
    """The models of a listing; none when the upstream has no such endpoint."""
    try:
        listing: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return []
    data: Any = cast("JsonObject", listing).get("data") if isinstance(listing, dict) else None
    models = cast("list[Any]", data) if isinstance(data, list) else []
    return [model for model in models if isinstance(model, dict) and isinstance(model.get("id"), str)]
