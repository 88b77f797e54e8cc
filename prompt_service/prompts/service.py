"""What can be done with prompts."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from redis.exceptions import RedisError

from prompt_service.prompts.cache import Lease, Pointer, PromptCache, pointer_of
from prompt_service.prompts.checks import Place, check_name, check_placeholders
from prompt_service.prompts.rendering import CompiledPrompt, Renderer, canonical_json
from prompt_service.prompts.repository import PromptRepository
from prompt_service.prompts.variables import check_schema, infer_schema
from studio.contracts.base import Json, JsonObject
from studio.contracts.ids import IdPrefix, is_id
from studio.contracts.prompts import (
    DEFAULT_LABEL,
    CacheState,
    PromoteRequest,
    Prompt,
    PromptContent,
    PromptDraft,
    PromptPatch,
    PromptVersion,
    RenderRequest,
    Templates,
    VersionDraft,
)
from studio.errors import Conflict, FieldError, InvalidInput, NotFound
from studio.schemas.meter import Meter
from studio.web.preconditions import check_if_match, etag_of

CACHED_VERSIONS = 2048


@dataclass(frozen=True, slots=True)
class Found:
    """What a reference with a label or a version stands for now."""

    pointer: Pointer
    version: PromptVersion
    compiled: CompiledPrompt
    label: str | None
    cache: CacheState


class PromptService:
    def __init__(self, repository: PromptRepository, cache: PromptCache, renderer: Renderer) -> None:
        self._repository = repository
        self._cache = cache
        self._renderer = renderer
        self._versions: OrderedDict[tuple[str, int], tuple[PromptVersion, CompiledPrompt]] = OrderedDict()

    # Writing

    async def create(self, draft: PromptDraft, actor: str) -> Prompt:
        check_name(draft.name, ("body",))
        given = draft.content()
        content = None if given is None else await self.checked(given, ("body",))
        return await self._repository.create(draft, content, actor)

    async def patch(self, ref: str, project_id: str, patch: PromptPatch, if_match: str | None) -> Prompt:
        fields = patch.model_dump(exclude_none=True)
        if "tags" in fields:
            fields["tags"] = list(dict.fromkeys(fields["tags"]))
        while True:
            prompt = await self._repository.get(ref, project_id)
            check_if_match(if_match, etag_of(prompt.revision))
            changed = await self._repository.change(prompt, fields) if fields else prompt
            if changed is not None:
                await self._cache.refresh(changed)
                return changed

    async def delete(self, ref: str, project_id: str, if_match: str | None) -> None:
        while True:
            prompt = await self._repository.get(ref, project_id)
            check_if_match(if_match, etag_of(prompt.revision))
            if await self._repository.delete(prompt):
                await self._cache.retire(prompt)
                return

    async def add_version(
        self, ref: str, project_id: str, draft: VersionDraft, actor: str
    ) -> tuple[Prompt, PromptVersion, bool]:
        """The prompt, its version of this content, and whether that is new."""
        prompt = await self._repository.get(ref, project_id)
        check_type(prompt, draft)
        content = await self.checked(draft, ("body",))
        prompt, version, created = await self._repository.add_version(prompt, content, draft.message, actor)
        if created:
            await self._cache.refresh(prompt)
        return prompt, version, created

    async def promote(self, ref: str, project_id: str, request: PromoteRequest, actor: str) -> Prompt:
        """Raises `Conflict` naming the current version when that is not the expected one."""
        while True:
            prompt = await self._repository.get(ref, project_id)
            await self._repository.get_version(prompt, request.version)
            current = prompt.labels.get(request.label)
            if "expected" in request.model_fields_set and current != request.expected:
                held = "does not exist" if current is None else f"points to version {current}"
                raise Conflict(
                    f"Label {request.label!r} of prompt {prompt.name!r} {held}, not to {request.expected}.",
                    extra={"label": request.label, "current": current},
                )
            promoted: Prompt | None = prompt
            if current != request.version:
                promoted = await self._repository.promote(
                    prompt,
                    label=request.label,
                    from_version=current,
                    to_version=request.version,
                    actor=actor,
                    reason=request.reason,
                )
            if promoted is not None:
                await self._cache.publish(promoted)
                return promoted

    async def checked(self, content: PromptContent, place: Place, meter: Meter | None = None) -> PromptContent:
        """The content with its variables' schema, after everything in it was checked; `place` is where it came from.
        Several may share a meter of what checking their schemas may cost.
        """
        if content.engine == "jinja2":
            for loc, text in content.texts():
                await self._check_text(text, (*place, *loc))
        check_placeholders(content, place)
        try:
            for field in ("config", "variables"):
                canonical_json(getattr(content, field))
            if content.variables is not None:
                await asyncio.to_thread(check_schema, content.variables, content, meter)
                return content
            return content.model_copy(update={"variables": infer_schema(content)})
        except InvalidInput as error:
            raise placed(error, place) from None

    async def _check_text(self, text: str, place: Place) -> None:
        try:
            await self._renderer.compile_text(text)
        except InvalidInput as error:
            raise placed(error, place) from None

    # Reading

    async def find(self, ref: str, project_id: str, *, label: str | None, version: int | None) -> Found:
        """What `label` (production unless told otherwise) or `version` stands for. Raises `NotFound`."""
        pointer, state = await self._point(ref, project_id)
        name = None
        if version is None:
            name = label or DEFAULT_LABEL
            number = pointer.labels.get(name)
            if number is None:
                raise NotFound(f"Prompt {pointer.name!r} has no label {name!r}; promote a version to it.")
        else:
            number = version
        held = self._versions.get((pointer.id, number))
        if held is None:
            stored, state = await self._load(pointer, number, state)
            held = (stored, await self._renderer.compile(stored))
            self._versions[pointer.id, number] = held
            if len(self._versions) > CACHED_VERSIONS:
                self._versions.popitem(last=False)
        else:
            self._versions.move_to_end((pointer.id, number))
        return Found(pointer, held[0], held[1], name, state)

    async def render(self, ref: str, project_id: str, request: RenderRequest) -> tuple[Found, str | list[JsonObject]]:
        found = await self.find(ref, project_id, label=request.label, version=request.version)
        return found, await self.fill(found.compiled, request.variables)

    async def render_unstored(self, templates: Templates, variables: Mapping[str, Json]) -> str | list[JsonObject]:
        fields = {name: getattr(templates, name) for name in ("engine", "template", "messages")}
        content = PromptContent.model_construct(**fields, variables=None, config=None)
        checked = await self.checked(content, ("body",))
        return await self.fill(await self._renderer.compile(checked), variables)

    async def fill(self, compiled: CompiledPrompt, variables: Mapping[str, Json]) -> str | list[JsonObject]:
        try:
            return await self._renderer.render(compiled, variables)
        except InvalidInput as error:
            raise placed(error, ("body",)) from None

    async def _point(self, ref: str, project_id: str) -> tuple[Pointer, CacheState]:
        key = ref if is_id(ref, IdPrefix.PROMPT) else f"{project_id}/{ref}"
        state: CacheState = "bypass"
        lease: Lease | None = None
        if self._cache.usable():
            try:
                cached = await self._cache.get(key)
                if cached is not None:
                    return cached, "hit"
                lease = await self._cache.lease(key)
                state = "miss"
            except RedisError:
                state = "bypass"
        pointer = pointer_of(await self._repository.get(ref, project_id))
        if lease is not None:
            try:
                await self._cache.fill(lease, pointer)
            except RedisError:
                state = "bypass"
        return pointer, state

    async def _load(self, pointer: Pointer, number: int, state: CacheState) -> tuple[PromptVersion, CacheState]:
        if state == "hit":
            try:
                kept = await self._cache.get_version(pointer.id, number)
                if kept is not None:
                    return kept, "hit"
                state = "miss"
            except RedisError:
                state = "bypass"
        prompt = await self._repository.get(pointer.id, pointer.project_id)
        version = await self._repository.get_version(prompt, number)
        if state == "miss":
            try:
                await self._cache.keep_version(version)
            except RedisError:
                state = "bypass"
        return version, state


def check_type(prompt: Prompt, content: Templates) -> None:
    """A prompt keeps its type. Raises `InvalidInput`."""
    wanted = "template" if prompt.type == "text" else "messages"
    if getattr(content, wanted) is None:
        message = f"Prompt {prompt.name!r} is of type {prompt.type!r}: its versions hold {wanted!r}."
        raise InvalidInput(message, errors=[FieldError(loc=["body", wanted], msg=message, type="prompt_type")])


def placed(error: InvalidInput, place: Place) -> InvalidInput:
    """The same error, its places seen from the request."""
    moved = [found.model_copy(update={"loc": [*place, *found.loc]}) for found in error.errors]
    if not moved:
        moved = [FieldError(loc=list(place), msg=error.detail, type="template")]
    return type(error)(error.detail, errors=moved, extra=error.extra)
