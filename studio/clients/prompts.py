"""A typed client of the prompt engine."""

import io
from collections.abc import Mapping, Sequence
from typing import Any, Self, TypeVar
from urllib.parse import quote

import aiohttp
import orjson
from pydantic import BaseModel, TypeAdapter
from yarl import URL

from studio.clients.http import connection_faults, raise_for_problem
from studio.contracts.base import Json, Page
from studio.contracts.prompts import (
    DEFAULT_PROJECT,
    ApplyResult,
    PromoteRequest,
    Prompt,
    PromptDocument,
    PromptVersion,
    RenderedPrompt,
)
from studio.contracts.traces import TraceDetail, TraceSummary

PART = "prompt engine"
TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=3)
ModelT = TypeVar("ModelT", bound=BaseModel)
_documents = TypeAdapter(list[PromptDocument])
_Query = Mapping[str, str | int]


class PromptClient:
    """Use as `async with PromptClient(base_url) as prompts`, where `base_url` has no `/api/v1`.

    Raises the errors of `studio.errors` that the engine answered with, `DependencyUnavailable` when it cannot be
    reached. Does not retry: the caller owns that.
    """

    def __init__(self, base_url: str, *, actor: str | None = None) -> None:
        self._base = base_url.rstrip("/") + "/api/v1"
        self._headers = {"X-Studio-Actor": actor} if actor else {}

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=TIMEOUT, headers=self._headers)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._session.close()

    async def render(
        self,
        ref: str,
        variables: Mapping[str, Json],
        *,
        project_id: str = DEFAULT_PROJECT,
        label: str | None = None,
        version: int | None = None,
    ) -> RenderedPrompt:
        """Render a stored prompt; without `label` and `version` the one in production."""
        body: dict[str, Json] = {"variables": variables, "label": label, "version": version}
        answer = await self._call("POST", ("prompts", ref, "render"), {"project_id": project_id}, body)
        return RenderedPrompt.model_validate_json(answer)

    async def apply(
        self, documents: Sequence[PromptDocument], *, dry_run: bool = False, actor: str | None = None
    ) -> ApplyResult:
        """Create or update all or none; the results are in the order of the documents. `actor` goes into history."""
        prompts = [document.model_dump(mode="json", exclude_unset=True) for document in documents]
        answer = await self._call("POST", ("prompts:apply",), {}, {"prompts": prompts, "dry_run": dry_run}, actor)
        return ApplyResult.model_validate_json(answer)

    async def export(self, *, project_id: str | None = None, name: str | None = None) -> list[PromptDocument]:
        query = {key: value for key, value in (("project_id", project_id), ("name", name)) if value is not None}
        return _documents.validate_json(await self._call("GET", ("prompts:export",), query))

    async def list_prompts(self, **filters: str | int | None) -> Page[Prompt]:
        """Newest first. Filters are the query parameters of `GET /prompts`; None leaves one out."""
        query = {key: value for key, value in filters.items() if value is not None}
        return Page[Prompt].model_validate_json(await self._call("GET", ("prompts",), query))

    async def get_prompt(self, ref: str, *, project_id: str = DEFAULT_PROJECT) -> Prompt:
        return Prompt.model_validate_json(await self._call("GET", ("prompts", ref), {"project_id": project_id}))

    async def delete_prompt(self, ref: str, *, project_id: str = DEFAULT_PROJECT) -> None:
        """With all its versions."""
        await self._call("DELETE", ("prompts", ref), {"project_id": project_id})

    async def get_version(self, ref: str, version: int, *, project_id: str = DEFAULT_PROJECT) -> PromptVersion:
        path = ("prompts", ref, "versions", str(version))
        return PromptVersion.model_validate_json(await self._call("GET", path, {"project_id": project_id}))

    async def promote(self, ref: str, request: PromoteRequest, *, project_id: str = DEFAULT_PROJECT) -> Prompt:
        """Point a label to a version; a label that is not where `expected` says is a `Conflict`."""
        body = request.model_dump(mode="json", exclude_unset=True)
        answer = await self._call("POST", ("prompts", ref, "promote"), {"project_id": project_id}, body)
        return Prompt.model_validate_json(answer)

    async def get_trace(self, trace_id: str) -> TraceDetail:
        return TraceDetail.model_validate_json(await self._call("GET", ("traces", trace_id), {}))

    async def list_traces(self, **filters: str | float | None) -> Page[TraceSummary]:
        """Filters are the query parameters of `GET /traces`; None leaves one out."""
        query = {key: str(value) for key, value in filters.items() if value is not None}
        return Page[TraceSummary].model_validate_json(await self._call("GET", ("traces",), query))

    async def _call(
        self, method: str, path: Sequence[str], query: _Query, body: Any = None, actor: str | None = None
    ) -> bytes:
        url = URL("/".join((self._base, *(quote(part, safe=":") for part in path))), encoded=True).with_query(query)
        data = None if body is None else io.BytesIO(orjson.dumps(body))
        headers = {} if body is None else {"Content-Type": "application/json"}
        if actor is not None:
            headers["X-Studio-Actor"] = actor
        async with (
            connection_faults(PART),
            self._session.request(method, url, data=data, headers=headers) as response,
        ):
            await raise_for_problem(response, PART)
            return await response.read()
