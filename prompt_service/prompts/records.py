"""How prompts lie in MongoDB, and their contracts out of that."""

from datetime import datetime
from typing import Any

import orjson

from prompt_service.mongo import Document
from studio.contracts.base import utc_now
from studio.contracts.prompts import Promotion, Prompt, PromptContent, PromptVersion

PROMPTS = "prompts"
VERSIONS = "prompt_versions"
PROMOTIONS = "prompt_promotions"
CACHE = "prompt_cache"
UNIQUE_NAME = "unique_name"


def now() -> datetime:
    """To the millisecond, which is what MongoDB keeps."""
    moment = utc_now()
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def content_json(content: PromptContent) -> bytes:
    """The canonical form of what a version holds; equal contents have equal bytes."""
    fields = {"engine", "template", "messages", "variables", "config"}
    dumped: dict[str, Any] = content.model_dump(mode="json", include=fields, exclude_none=True)
    return orjson.dumps(dumped, option=orjson.OPT_SORT_KEYS)


def to_prompt(document: Document) -> Prompt:
    return Prompt(
        id=document["_id"],
        name=document["name"],
        project_id=document["project_id"],
        description=document["description"],
        type=document["type"],
        tags=document["tags"],
        labels=document["labels"],
        latest_version=document["latest_version"],
        version=document["latest_version"],
        revision=document["revision"],
        created_at=document["created_at"],
        updated_at=document["updated_at"],
    )


def to_version(prompt: Prompt, document: Document) -> PromptVersion:
    return PromptVersion(
        **orjson.loads(document["content"]),
        prompt_id=prompt.id,
        name=prompt.name,
        project_id=prompt.project_id,
        type=prompt.type,
        version=document["version"],
        message=document["message"],
        created_at=document["created_at"],
        created_by=document["created_by"],
    )


def to_promotion(document: Document) -> Promotion:
    return Promotion(
        id=document["_id"],
        prompt_id=document["prompt_id"],
        label=document["label"],
        from_version=document["from"],
        to_version=document["to"],
        actor=document["actor"],
        reason=document["reason"],
        promoted_at=document["promoted_at"],
    )
