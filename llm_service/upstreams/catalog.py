"""Which models there are, and which upstreams answer."""

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

import aiohttp
import orjson
import structlog

from llm_service.errors import ModelNotFound, UpstreamUnreachable
from llm_service.upstreams.routing import ModelRouter
from llm_service.upstreams.upstream import Upstream
from studio.clients.kept_connections import KeptConnections
from studio.contracts.base import Contract, JsonObject
from studio.tasks import Flights

ANSWER_SECONDS = 2.5
"""Less than a readiness check may take."""
LISTING_SECONDS = 1.0
"""How long a listing waits for one upstream; what that says later counts for the next listing."""
LISTED_SECONDS = 30.0
"""How long a listing is used."""
FAILED_SECONDS = 10.0
"""How long a listing leaves an upstream alone that did not answer."""
PROBED_SECONDS = 5.0
PROBE_FAILED_SECONDS = 1.0
"""How long an answer, or a fault, serves the probes of load balancers."""
LISTING_BYTES = 8 << 20
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


@dataclass(frozen=True, slots=True)
class _Seen:
    """What an upstream said when it was last asked."""

    at: float
    models: list[ModelEntry]
    """Of its last good answer."""
    fault: str | None
    """Why it is not to be used."""
    latency_ms: float

    def is_fresh(self, good_seconds: float, failed_seconds: float) -> bool:
        return time.monotonic() < self.at + (good_seconds if self.fault is None else failed_seconds)


class Catalog:
    """Asks upstreams for their models, one question at a time each, and remembers answers and faults for a while."""

    def __init__(self, upstreams: dict[str, Upstream], router: ModelRouter, connections: KeptConnections) -> None:
        self._upstreams = upstreams
        self._router = router
        self._connections = connections
        self._started = int(time.time())
        self._seen: dict[str, _Seen] = {}
        self._asking = Flights[_Seen]()

    async def close(self) -> None:
        await self._asking.close()

    async def check(self, name: str) -> None:
        """Raise `UpstreamUnreachable` unless the upstream answers `/models` and takes our key."""
        seen = await self._probe(self._upstreams[name])
        if seen.fault is not None:
            raise UpstreamUnreachable(name, seen.fault)

    async def models(self) -> ModelList:
        """Aliases, then each upstream's models as `upstream/model`; of one that is down, those it listed last."""
        aliases = [ModelEntry(id=name, created=self._started, owned_by="studio") for name in self._router.aliases]
        found = await asyncio.gather(*(self._known_models(upstream) for upstream in self._upstreams.values()))
        return ModelList(data=[*aliases, *(entry for entries in found for entry in entries)])

    async def model(self, asked: str) -> ModelEntry:
        """One model under the name that callers use. Raises `ModelNotFound`, or `UpstreamUnreachable`."""
        target = self._router.resolve(asked)
        if asked in self._router.aliases:
            return ModelEntry(id=asked, created=self._started, owned_by="studio")
        upstream = self._upstreams[target.upstream]
        if upstream.config.models is not None:  # the router has checked it
            return ModelEntry(id=asked, created=self._started, owned_by=upstream.name)
        seen = await self._listing(upstream)
        for entry in seen.models:
            if entry.id == asked:
                return entry
        if seen.fault is not None:
            raise UpstreamUnreachable(upstream.name, seen.fault)
        raise ModelNotFound(f"The upstream {target.upstream!r} has no model {target.model!r}.")

    async def states(self) -> list[UpstreamState]:
        return list(await asyncio.gather(*(self._state(upstream) for upstream in self._upstreams.values())))

    async def _state(self, upstream: Upstream) -> UpstreamState:
        seen = await self._probe(upstream)
        models = upstream.config.models
        return UpstreamState(
            name=upstream.name,
            kind=upstream.config.kind,
            models=None if models is None else list(models),
            healthy=seen.fault is None,
            detail=seen.fault,
            latency_ms=None if seen.fault else seen.latency_ms,
        )

    async def _known_models(self, upstream: Upstream) -> list[ModelEntry]:
        configured = upstream.config.models
        if configured is not None:
            return [
                ModelEntry(id=f"{upstream.name}/{name}", created=self._started, owned_by=upstream.name)
                for name in configured
            ]
        try:
            async with asyncio.timeout(LISTING_SECONDS):
                return (await self._listing(upstream)).models
        except TimeoutError:
            known = self._seen.get(upstream.name)
            return known.models if known else []

    async def _listing(self, upstream: Upstream) -> _Seen:
        return await self._look(upstream, LISTED_SECONDS, FAILED_SECONDS)

    async def _probe(self, upstream: Upstream) -> _Seen:
        return await self._look(upstream, PROBED_SECONDS, PROBE_FAILED_SECONDS)

    async def _look(self, upstream: Upstream, good_seconds: float, failed_seconds: float) -> _Seen:
        known = self._seen.get(upstream.name)
        if known is not None and known.is_fresh(good_seconds, failed_seconds):
            return known
        return await self._asking.get(upstream.name, partial(self._ask, upstream))

    async def _ask(self, upstream: Upstream) -> _Seen:
        started = time.perf_counter()
        listed: list[JsonObject] | None = None
        fault = None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                listed = await self._list(upstream)
        except UpstreamUnreachable as error:
            fault = error.detail
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            fault = f"The upstream {upstream.name!r} does not answer ({type(error).__name__})."
        if fault is not None:
            _log.warning("upstream.unhealthy", upstream=upstream.name, reason=fault)
        known = self._seen.get(upstream.name)
        seen = _Seen(
            at=time.monotonic(),
            models=[self._entry(upstream.name, model) for model in listed]
            if listed is not None
            else known.models
            if known
            else [],
            fault=fault,
            latency_ms=round((time.perf_counter() - started) * 1000, 3),
        )
        self._seen[upstream.name] = seen
        return seen

    def _entry(self, upstream: str, model: JsonObject) -> ModelEntry:
        created = model.get("created")
        return ModelEntry(
            id=f"{upstream}/{model['id']}",
            created=created if isinstance(created, int) else self._started,
            owned_by=upstream,
        )

    async def _list(self, upstream: Upstream) -> list[JsonObject] | None:
        """The models of its listing; None when it works and lists none now (busy, or without such an endpoint)."""
        url, headers = upstream.url("/models"), upstream.headers()
        async with await self._connections.get(url, headers=headers, allow_redirects=False) as answer:
            if answer.status == 200:
                return _models_in(upstream.name, await _limited(upstream.name, answer))
            if answer.status >= 500 or answer.status in {401, 403}:
                raise UpstreamUnreachable(
                    upstream.name, f"The upstream {upstream.name!r} answers with status {answer.status}."
                )
            if 300 <= answer.status < 400:
                raise UpstreamUnreachable(
                    upstream.name,
                    f"The upstream {upstream.name!r} redirects (status {answer.status}): correct its base_url.",
                )
            return None


async def _limited(name: str, answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for piece in answer.content.iter_any():
        body += piece
        if len(body) > LISTING_BYTES:
            raise UpstreamUnreachable(
                name, f"The upstream {name!r} answers /models with more than {LISTING_BYTES >> 20} MiB."
            )
    return bytes(body)


def _models_in(name: str, body: bytes) -> list[JsonObject]:
    """The models of a listing; entries of other shapes are left out."""
    try:
        listing: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UpstreamUnreachable(
            name, f"The upstream {name!r} answers /models with something that is not JSON: check its base_url."
        ) from None
    data: Any = cast("JsonObject", listing).get("data") if isinstance(listing, dict) else None
    models = cast("list[Any]", data) if isinstance(data, list) else []
    return [model for model in models if isinstance(model, dict) and isinstance(model.get("id"), str)]
