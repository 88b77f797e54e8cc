"""Prompts, versions and promotions in MongoDB.

Every change of a prompt is one compare-and-set on its document, so concurrent writers never lose each other's work.
Nothing needs a transaction: a version's document is written before the prompt counts it, and a promotion is recorded
inside the prompt's own update and copied to the history afterwards; whoever comes next finishes what a crash left.
"""

import re
from collections.abc import Sequence
from typing import Any

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from prompt_service.mongo import Database, Document, mongo_faults
from prompt_service.prompts.records import (
    PROMOTIONS,
    PROMPTS,
    UNIQUE_NAME,
    VERSIONS,
    content_json,
    now,
    to_promotion,
    to_prompt,
    to_version,
)
from studio.contracts.ids import IdPrefix, is_id, new_id
from studio.contracts.prompts import Promotion, Prompt, PromptContent, PromptDraft, PromptVersion
from studio.errors import Conflict, DependencyUnavailable, NotFound


class PromptRepository:
    """Raises `DependencyUnavailable("mongo")` from every method when the server does not answer."""

    def __init__(self, database: Database) -> None:
        self._prompts = database[PROMPTS]
        self._versions = database[VERSIONS]
        self._promotions = database[PROMOTIONS]
        self._migrated = False

    async def find(self, ref: str, project_id: str) -> Prompt | None:
        """`ref` is an id, or a name within the project."""
        query = {"_id": ref} if is_id(ref, IdPrefix.PROMPT) else {"project_id": project_id, "name": ref}
        with mongo_faults():
            document = await self._prompts.find_one(query)
        return None if document is None else to_prompt(document)

    async def get(self, ref: str, project_id: str) -> Prompt:
        """Raises `NotFound`."""
        prompt = await self.find(ref, project_id)
        if prompt is None:
            raise NotFound(f"There is no prompt {ref!r} in project {project_id!r}.")
        return prompt

    async def create(self, draft: PromptDraft, content: PromptContent | None, actor: str) -> Prompt:
        """Store a prompt, with its first version and promotion when given. Raises `Conflict` for a taken name."""
        await self._check_migrated()
        prompt_id = new_id(IdPrefix.PROMPT)
        moment = now()
        label = draft.label if content is not None else None
        document: Document = {
            "_id": prompt_id,
            "name": draft.name,
            "project_id": draft.project_id,
            "description": draft.description,
            "type": draft.type,
            "tags": list(dict.fromkeys(draft.tags)),
            "labels": {} if label is None else {label: 1},
            "latest_version": 0 if content is None else 1,
            "revision": 1,
            "promoting": [] if label is None else [_promotion(prompt_id, label, None, 1, actor, "")],
            "created_at": moment,
            "updated_at": moment,
        }
        with mongo_faults():
            if content is not None:
                await self._versions.insert_one(_version(prompt_id, 1, content, draft.message, actor))
            try:
                await self._prompts.insert_one(document)
            except DuplicateKeyError:
                await self._versions.delete_many({"prompt_id": prompt_id})
                message = f"There is a prompt {draft.name!r} in project {draft.project_id!r} already."
                raise Conflict(message) from None
        await self._record_promotions(document)
        return to_prompt(document)

    async def _check_migrated(self) -> None:
        """Without the unique index two prompts could get one name."""
        if self._migrated:
            return
        with mongo_faults():
            self._migrated = UNIQUE_NAME in await self._prompts.index_information()
        if not self._migrated:
            raise DependencyUnavailable("mongo", "MongoDB lacks an index; run `studio migrate`.", retry_after=10)

    async def change(self, prompt: Prompt, fields: dict[str, Any]) -> Prompt | None:
        """Set fields if the prompt is still at this revision; None when it is not."""
        update = {"$set": {**fields, "updated_at": now()}, "$inc": {"revision": 1}}
        with mongo_faults():
            document = await self._prompts.find_one_and_update(
                {"_id": prompt.id, "revision": prompt.revision}, update, return_document=ReturnDocument.AFTER
            )
        return None if document is None else to_prompt(document)

    async def delete(self, prompt: Prompt) -> bool:
        """Delete the prompt with all it has if it is still at this revision."""
        with mongo_faults():
            deleted = await self._prompts.delete_one({"_id": prompt.id, "revision": prompt.revision})
            if deleted.deleted_count == 0:
                return False
            await self._versions.delete_many({"prompt_id": prompt.id})
            await self._promotions.delete_many({"prompt_id": prompt.id})
        return True

    async def list_prompts(
        self,
        *,
        project_id: str | None,
        tag: str | None,
        type_: str | None,
        label: str | None,
        text: str | None,
        before_id: str | None,
        limit: int,
        name: str | None = None,
    ) -> list[Prompt]:
        """Newest first; `text` is looked for in name and description, whatever its case."""
        query: Document = {}
        if project_id is not None:
            query["project_id"] = project_id
        if name is not None:
            query["name"] = name
        if tag is not None:
            query["tags"] = tag
        if type_ is not None:
            query["type"] = type_
        if label is not None:
            query[f"labels.{label}"] = {"$exists": True}
        if text is not None:
            pattern = {"$regex": re.escape(text), "$options": "i"}
            query["$or"] = [{"name": pattern}, {"description": pattern}]
        if before_id is not None:
            query["_id"] = {"$lt": before_id}
        with mongo_faults():
            documents = await self._prompts.find(query).sort("_id", -1).limit(limit).to_list()
        return [to_prompt(document) for document in documents]

    async def list_tags(self, *, project_id: str | None, after: str | None, limit: int) -> list[tuple[str, int]]:
        """Each tag with the number of prompts that carry it, in alphabetical order."""
        pipeline: list[Document] = [
            *([{"$match": {"project_id": project_id}}] if project_id is not None else []),
            {"$unwind": "$tags"},
            {"$group": {"_id": "$tags", "prompts": {"$sum": 1}}},
            *([{"$match": {"_id": {"$gt": after}}}] if after is not None else []),
            {"$sort": {"_id": 1}},
            {"$limit": limit},
        ]
        with mongo_faults():
            cursor = await self._prompts.aggregate(pipeline)
            return [(found["_id"], found["prompts"]) async for found in cursor]

    # Versions

    async def find_version(self, prompt: Prompt, number: int) -> PromptVersion | None:
        with mongo_faults():
            document = await self._versions.find_one({"_id": _version_id(prompt.id, number)})
        if document is None or number > prompt.latest_version:
            return None
        return to_version(prompt, document)

    async def get_version(self, prompt: Prompt, number: int) -> PromptVersion:
        """Raises `NotFound`."""
        version = await self.find_version(prompt, number)
        if version is None:
            raise NotFound(f"Prompt {prompt.name!r} has no version {number}; its newest is {prompt.latest_version}.")
        return version

    async def list_versions(self, prompt: Prompt, *, before: int | None, limit: int) -> list[PromptVersion]:
        """Newest first."""
        newest = prompt.latest_version if before is None else min(before - 1, prompt.latest_version)
        query = {"prompt_id": prompt.id, "version": {"$lte": newest}}
        with mongo_faults():
            documents = await self._versions.find(query).sort("version", -1).limit(limit).to_list()
        return [to_version(prompt, document) for document in documents]

    async def add_version(
        self, prompt: Prompt, content: PromptContent, message: str, actor: str
    ) -> tuple[Prompt, PromptVersion, bool]:
        """Store a version unless the newest has the same content; the prompt, the version, and whether it is new."""
        wanted = content_json(content)
        while True:
            with mongo_faults():
                newest = await self._versions.find_one({"_id": _version_id(prompt.id, prompt.latest_version)})
                if newest is not None and newest["content"].encode() == wanted:
                    return prompt, to_version(prompt, newest), False
                number = prompt.latest_version + 1
                document = _version(prompt.id, number, content, message, actor)
                created = True
                try:
                    await self._versions.insert_one(document)
                except DuplicateKeyError:
                    created = False  # another writer's, which may have died before the prompt counted it
                counted = await self._prompts.find_one_and_update(
                    {"_id": prompt.id, "latest_version": number - 1},
                    {"$set": {"latest_version": number, "updated_at": now()}, "$inc": {"revision": 1}},
                    return_document=ReturnDocument.AFTER,
                )
                current = counted or await self._prompts.find_one({"_id": prompt.id})
                if current is None:
                    await self._versions.delete_many({"prompt_id": prompt.id})
                    raise NotFound(f"Prompt {prompt.name!r} was deleted.")
            prompt = to_prompt(current)
            if created:
                return prompt, to_version(prompt, document), True

    # Promotions

    async def promote(
        self, prompt: Prompt, *, label: str, from_version: int | None, to_version: int, actor: str, reason: str
    ) -> Prompt | None:
        """Point the label to a version if it still points to `from_version`; None when it does not."""
        entry = _promotion(prompt.id, label, from_version, to_version, actor, reason)
        with mongo_faults():
            document = await self._prompts.find_one_and_update(
                {"_id": prompt.id, f"labels.{label}": from_version},
                {
                    "$set": {f"labels.{label}": to_version, "updated_at": entry["promoted_at"]},
                    "$inc": {"revision": 1},
                    "$push": {"promoting": entry},
                },
                return_document=ReturnDocument.AFTER,
            )
        if document is None:
            return None
        await self._record_promotions(document)
        return to_prompt(document)

    async def list_promotions(self, prompt: Prompt, *, before_id: str | None, limit: int) -> list[Promotion]:
        """Newest first."""
        with mongo_faults():
            document = await self._prompts.find_one({"_id": prompt.id}, {"promoting": 1})
            await self._record_promotions(document or {"_id": prompt.id, "promoting": []})
            query: Document = {"prompt_id": prompt.id}
            if before_id is not None:
                query["_id"] = {"$lt": before_id}
            documents = await self._promotions.find(query).sort("_id", -1).limit(limit).to_list()
        return [to_promotion(found) for found in documents]

    async def _record_promotions(self, document: Document) -> None:
        pending: Sequence[Document] = document["promoting"]
        with mongo_faults():
            for entry in pending:
                await self._promotions.replace_one({"_id": entry["_id"]}, entry, upsert=True)
            if pending:
                ids = [entry["_id"] for entry in pending]
                done = {"$pull": {"promoting": {"_id": {"$in": ids}}}}
                await self._prompts.update_one({"_id": document["_id"]}, done)


def _version_id(prompt_id: str, number: int) -> str:
    return f"{prompt_id}:{number}"


def _version(prompt_id: str, number: int, content: PromptContent, message: str, actor: str) -> Document:
    return {
        "_id": _version_id(prompt_id, number),
        "prompt_id": prompt_id,
        "version": number,
        "content": content_json(content).decode(),
        "message": message,
        "created_at": now(),
        "created_by": actor,
    }


def _promotion(
    prompt_id: str, label: str, from_version: int | None, to_version: int, actor: str, reason: str
) -> Document:
    return {
        "_id": new_id(IdPrefix.PROMOTION),
        "prompt_id": prompt_id,
        "label": label,
        "from": from_version,
        "to": to_version,
        "actor": actor,
        "reason": reason,
        "promoted_at": now(),
    }
