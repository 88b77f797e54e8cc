"""What is stored under a name can be found by it, and one variable of a prompt is one thing."""

from typing import Any

import pytest

from studio.contracts.ids import IdPrefix, new_id
from tests.support.prompt_engine import Project

ID = "prm_01hzzzzzzzzzzzzzzzzzzzzzzz"


async def stored(prompts: Project, **fields: Any) -> tuple[int, Any]:
    answer = await prompts.call("POST", "prompts", {"name": "chat", "project_id": prompts.id, **fields})
    return answer.status, answer.body


class TestNames:
    @pytest.mark.parametrize("name", [ID, new_id(IdPrefix.PROMPT), "prm_" + "0" * 26], ids=["ulid", "new", "zeros"])
    async def test_like_ids_are_refused(self, prompts: Project, name: str):
        status, problem = await stored(prompts, name=name, template="x")
        assert (status, problem["errors"][0]["loc"]) == (422, ["body", "name"])
        body = {"prompts": [{"kind": "prompt", "name": name, "project_id": prompts.id, "template": "x"}]}
        applied = await prompts.call("POST", "prompts:apply", body)
        assert (applied.status, applied.body["errors"][0]["loc"]) == (422, ["body", "prompts", 0, "name"])

    @pytest.mark.parametrize("name", ["prm_", "prm_" + "0" * 25, "prm-" + "0" * 26, "agt_" + "0" * 26])
    async def test_others_are_found_by_name(self, prompts: Project, name: str):
        assert (await stored(prompts, name=name, template="x"))[0] == 201
        assert (await prompts.get(f"prompts/{name}"))["name"] == name


class TestPlaceholders:
    async def test_two_of_one_name_are_refused(self, prompts: Project):
        messages = [{"placeholder": "history"}, {"role": "user", "content": "x"}, {"placeholder": "history"}]
        status, problem = await stored(prompts, messages=messages)
        assert (status, problem["errors"][0]["loc"]) == (422, ["body", "messages", 2, "placeholder"])

    @pytest.mark.parametrize("first", [True, False])
    async def test_one_that_a_text_reads_too_is_refused(self, prompts: Project, first: bool):
        messages: list[Any] = [{"role": "user", "content": "Sum up {{ history }}"}, {"placeholder": "history"}]
        status, problem = await stored(prompts, messages=messages if first else messages[::-1])
        assert (status, problem["errors"][0]["loc"]) == (422, ["body", "messages", int(first), "placeholder"])
        assert "history" in problem["detail"]

    async def test_versions_and_renders_say_the_same(self, prompts: Project):
        twice = {"messages": [{"placeholder": "h"}, {"placeholder": "h"}]}
        assert (await stored(prompts, messages=[{"placeholder": "h"}]))[0] == 201
        for path in ("prompts/chat/versions", "render"):
            answer = await prompts.call("POST", path, twice)
            assert (answer.status, answer.body["errors"][0]["loc"][1:]) == (422, ["messages", 1, "placeholder"]), path

    async def test_plain_text_reads_no_variables(self, prompts: Project):
        messages = [{"role": "user", "content": "{{ history }}"}, {"placeholder": "history"}]
        assert (await stored(prompts, engine="plain", messages=messages))[0] == 201


class TestPlaces:
    @pytest.mark.parametrize(
        ("message", "place"),
        [
            ({"role": "robot", "content": "x"}, ["role"]),
            ({"role": "user"}, ["content"]),
            ({"placeholder": "not an identifier"}, ["placeholder"]),
            ({"placeholder": "a", "role": "user"}, ["role"]),
        ],
    )
    async def test_name_members_that_the_body_has(self, prompts: Project, message: Any, place: list[str]):
        _, problem = await stored(prompts, messages=[message])
        assert problem["errors"][0]["loc"] == ["body", "messages", 0, *place]
        answer = await prompts.call("POST", "render", {"messages": [message]})
        assert answer.body["errors"][0]["loc"] == ["body", "messages", 0, *place]
