"""Many callers apply one document at the same time: it is stored once, and one of them is told that it made it."""

import asyncio
from collections import Counter
from typing import Any

from tests.support.prompt_engine import Project


async def applied_at_once(prompts: Project, count: int, **fields: Any) -> Counter[str]:
    body = {"prompts": [{"kind": "prompt", "name": "p", "project_id": prompts.id, **fields}]}
    answers = await asyncio.gather(*(prompts.call("POST", "prompts:apply", body) for _ in range(count)))
    return Counter(answer.body["results"][0]["action"] for answer in answers)


class TestOneDocument:
    async def test_is_created_once(self, prompts: Project):
        assert await applied_at_once(prompts, 20, template="x") == {"created": 1, "unchanged": 19}
        assert (await prompts.get("prompts/p"))["revision"] == 1

    async def test_makes_one_version(self, prompts: Project):
        await prompts.create("p", "x")
        actions = await applied_at_once(prompts, 20, template="y")
        assert actions["created"] == 0
        assert actions["updated"] >= 1
        assert (await prompts.get("prompts/p"))["labels"] == {"production": 2}
        assert await applied_at_once(prompts, 20, template="y") == {"unchanged": 20}
