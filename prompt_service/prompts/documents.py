"""Applying and exporting prompts as documents."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from prompt_service.prompts.cache import PromptCache
from prompt_service.prompts.checks import check_name
from prompt_service.prompts.records import content_json
from prompt_service.prompts.repository import PromptRepository
from prompt_service.prompts.service import PromptService, placed
from prompt_service.prompts.variables import infer_schema
from studio.contracts.prompts import (
    DEFAULT_LABEL,
    AppliedPrompt,
    PromoteRequest,
    Prompt,
    PromptContent,
    PromptDocument,
    PromptDraft,
    PromptPatch,
    PromptVersion,
)
from studio.errors import Conflict, FieldError, InvalidInput, NotFound
from studio.schemas.meter import MAX_STEPS, Meter

Action = Literal["created", "updated", "unchanged"]
EXPORT_PAGE = 200


@dataclass(frozen=True, slots=True)
class _Plan:
    """What applying one document will do."""

    document: PromptDocument
    content: PromptContent
    existing: Prompt | None
    version: int | None
    """The stored version that has this content already."""
    described: bool
    """Whether description and tags are as the document says."""

    @property
    def action(self) -> Action:
        if self.existing is None:
            return "created"
        label = self.document.label
        labelled = label is None or self.existing.labels.get(label) == self.version
        return "unchanged" if self.described and self.version is not None and labelled else "updated"


class PromptDocuments:
    def __init__(self, service: PromptService, repository: PromptRepository, cache: PromptCache) -> None:
        self._service = service
        self._repository = repository
        self._cache = cache

    async def apply(self, documents: Sequence[PromptDocument], *, dry_run: bool, actor: str) -> list[AppliedPrompt]:
        """Check every document, then write them in order. Raises `InvalidInput` with the place of what is wrong."""
        seen: set[tuple[str, str]] = set()
        plans: list[_Plan] = []
        meter = Meter(2 * MAX_STEPS)
        for index, document in enumerate(documents):
            key = (document.project_id, document.name)
            place = ("body", "prompts", index)
            if key in seen:
                message = f"Prompt {document.name!r} of project {document.project_id!r} is there twice."
                error = FieldError(loc=[*place, "name"], msg=message, type="duplicate")
                raise InvalidInput(message, errors=[error])
            seen.add(key)
            plans.append(await self._plan(document, place, meter))
        if dry_run:
            return [AppliedPrompt(name=plan.document.name, action=plan.action) for plan in plans]
        return [AppliedPrompt(name=plan.document.name, action=await self._write(plan, actor)) for plan in plans]

    async def export(self, *, project_id: str | None, name: str | None) -> list[PromptDocument]:
        """A document for each prompt that has a version: the version in production, else that of its first label,
        else the newest with `label: null`. Applying them changes nothing.
        """
        found: list[PromptDocument] = []
        before: str | None = None
        while True:
            page = await self._repository.list_prompts(
                project_id=project_id,
                tag=None,
                type_=None,
                label=None,
                text=None,
                name=name,
                before_id=before,
                limit=EXPORT_PAGE,
            )
            found += [await self._document(prompt) for prompt in page if prompt.latest_version > 0]
            if len(page) < EXPORT_PAGE:
                break
            before = page[-1].id
        if name is not None and not found:
            raise NotFound(f"There is no prompt {name!r} with a version to export.")
        return sorted(found, key=lambda document: (document.project_id, document.name))

    async def _plan(self, document: PromptDocument, place: tuple[str | int, ...], meter: Meter) -> _Plan:
        check_name(document.name, place)
        given = document.content()
        if given is None:
            raise placed(InvalidInput("give either 'template' or 'messages'"), place)
        content = await self._service.checked(given, place, meter)
        existing = await self._repository.find(document.name, document.project_id)
        if existing is None:
            return _Plan(document, content, None, None, described=False)
        if existing.type != document.type:
            message = f"Prompt {document.name!r} is of type {existing.type!r}, which cannot change."
            raise placed(InvalidInput(message), (*place, "type"))
        tags = list(dict.fromkeys(document.tags))
        described = existing.description == document.description and existing.tags == tags
        version = await self._version_with(existing, content, document.label)
        return _Plan(document, content, existing, version, described)

    async def _version_with(self, prompt: Prompt, content: PromptContent, label: str | None) -> int | None:
        labelled = None if label is None else prompt.labels.get(label)
        for number in dict.fromkeys((labelled, prompt.latest_version)):
            version = await self._repository.find_version(prompt, number) if number else None
            if version is not None and content_json(version) == content_json(content):
                return version.version
        return None

    async def _write(self, plan: _Plan, actor: str) -> Action:
        """What was done in the end: somebody else may have applied the document since it was planned."""
        if plan.action == "unchanged":
            return "unchanged"
        document = plan.document
        prompt = plan.existing
        if prompt is None:
            shared = PromptDraft.model_fields.keys() & PromptDocument.model_fields.keys()
            draft = PromptDraft.model_validate({name: getattr(document, name) for name in shared})
            try:
                await self._repository.create(draft, plan.content, actor)
            except Conflict:  # someone made it since we looked: it is there to be updated now
                return await self._write(await self._plan(document, (), Meter()), actor)
            return "created"
        if not plan.described:
            patch = PromptPatch(description=document.description, tags=document.tags)
            prompt = await self._service.patch(prompt.id, prompt.project_id, patch, None)
        number, created = plan.version, False
        if number is None:
            prompt, version, created = await self._repository.add_version(prompt, plan.content, document.message, actor)
            number = version.version
            if created:
                await self._cache.refresh(prompt)
        labelled = document.label is None or prompt.labels.get(document.label) == number
        if document.label is not None and not labelled:
            request = PromoteRequest(version=number, label=document.label, reason="applied")
            await self._service.promote(prompt.id, prompt.project_id, request, actor)
        return "unchanged" if plan.described and not created and labelled else "updated"

    async def _document(self, prompt: Prompt) -> PromptDocument:
        label = DEFAULT_LABEL if DEFAULT_LABEL in prompt.labels else min(prompt.labels, default=None)
        number = prompt.latest_version if label is None else prompt.labels[label]
        version = await self._repository.get_version(prompt, number)
        return PromptDocument(
            name=prompt.name,
            project_id=prompt.project_id,
            description=prompt.description,
            type=prompt.type,
            tags=prompt.tags,
            engine=version.engine,
            template=version.template,
            messages=version.messages,
            variables=None if version.variables == infer_schema(_bare(version)) else version.variables,
            config=version.config,
            message=version.message,
            label=label,
        )


def _bare(version: PromptVersion) -> PromptContent:
    return PromptContent(engine=version.engine, template=version.template, messages=version.messages)
