import asyncio
from typing import Any

import pytest

from studio.clients.prompts import PromptClient
from studio.contracts.prompts import PromptDocument
from studio.errors import DependencyUnavailable, InvalidInput, NotFound
from tests.support.prompt_engine import Project


class TestCreate:
    async def test_answers_201_with_location_and_etag(self, prompts: Project):
        body = {"name": "empty", "project_id": prompts.id}
        answer = await prompts.call("POST", "prompts", body)
        assert answer.status == 201
        assert answer.body["latest_version"] == 0
        assert answer.body["labels"] == {}
        location = answer.headers["Location"].removeprefix("/api/v1/")
        read = await prompts.call("GET", location)
        assert read.body == answer.body
        assert read.headers["ETag"] == answer.headers["ETag"]

    async def test_a_taken_name_is_a_conflict_within_its_project_only(self, prompts: Project, prompt_url: str):
        first = await prompts.create()
        answer = await prompts.call("POST", "prompts", {"name": "greet", "project_id": prompts.id, "template": "x"})
        assert answer.status == 409
        other = Project(prompts.session, prompt_url)
        assert (await other.create())["id"] != first["id"]

    async def test_of_ten_creators_of_one_name_one_wins(self, prompts: Project):
        body = {"name": "raced", "project_id": prompts.id, "template": "x"}
        answers = await asyncio.gather(*(prompts.call("POST", "prompts", body) for _ in range(10)))
        assert sorted(answer.status for answer in answers) == [201] + [409] * 9
        assert len((await prompts.get("prompts/raced/versions"))["items"]) == 1

    @pytest.mark.parametrize(
        ("body", "place"),
        [
            ({"name": "a", "templat": "x"}, ["body", "templat"]),
            ({"name": "Upper"}, ["body", "name"]),
            ({"name": "a", "template": "x", "messages": [{"role": "user", "content": "x"}]}, ["body"]),
            ({"name": "a", "label": "production"}, ["body"]),
            ({"name": "a", "type": "chat", "template": "x"}, ["body"]),
            ({"name": "a", "template": "{{ x"}, ["body", "template"]),
            ({"name": "a", "messages": [{"role": "user", "content": "{% if %}"}]}, ["body", "messages", 0, "content"]),
            ({"name": "a", "template": "x", "engine": "mustache"}, ["body", "engine"]),
            ({"name": "a", "messages": [{"include": {"name": "b"}}]}, None),
        ],
    )
    async def test_names_the_place_of_what_is_wrong(self, prompts: Project, body: Any, place: list[Any] | None):
        answer = await prompts.call("POST", "prompts", {**body, "project_id": prompts.id})
        assert answer.status == 422
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.body["type"] == "urn:studio:invalid-input"
        if place is not None:
            assert place in [error["loc"] for error in answer.body["errors"]]
        assert (await prompts.get("prompts"))["items"] == []


class TestList:
    async def test_pages_through_all_and_stays_stable_while_prompts_are_added(self, prompts: Project):
        made = [(await prompts.create(f"p{index}"))["name"] for index in range(7)]
        page = await prompts.get("prompts?limit=3")
        await prompts.create("late")
        seen = [item["name"] for item in page["items"]]
        while page["next_cursor"]:
            page = await prompts.get(f"prompts?limit=3&cursor={page['next_cursor']}")
            seen += [item["name"] for item in page["items"]]
        assert seen == made[::-1]

    async def test_filters(self, prompts: Project):
        await prompts.create("alpha", tags=["x", "y"], description="Greets (politely)")
        await prompts.create("beta", tags=["y"])
        messages = [{"role": "user", "content": "hi"}]
        await prompts.call("POST", "prompts", {"name": "gamma", "project_id": prompts.id, "messages": messages})

        async def names(query: str) -> list[str]:
            return [item["name"] for item in (await prompts.get(f"prompts?{query}"))["items"]]

        assert await names("tag=x") == ["alpha"]
        assert await names("type=chat") == ["gamma"]
        assert await names("label=production") == ["beta", "alpha"]
        assert await names("q=GREETS+(P") == ["alpha"]
        assert await names("q=.*") == []
        tags = await prompts.get("tags?limit=1")
        assert tags["items"] == [{"name": "x", "prompts": 1}]
        assert (await prompts.get(f"tags?cursor={tags['next_cursor']}"))["items"] == [{"name": "y", "prompts": 2}]

    @pytest.mark.parametrize("query", ["limit=0", "limit=201", "cursor=nonsense", "cursor=W10"])
    async def test_refuses_wrong_paging(self, prompts: Project, query: str):
        assert (await prompts.call("GET", f"prompts?{query}")).status == 422


class TestChange:
    async def test_patch_honours_if_match(self, prompts: Project):
        await prompts.create()
        etag = (await prompts.call("GET", "prompts/greet")).headers["ETag"]
        changed = await prompts.call("PATCH", "prompts/greet", {"tags": ["new", "new"]}, headers={"If-Match": etag})
        assert changed.status == 200
        assert changed.body["tags"] == ["new"]
        assert changed.body["description"] == ""
        stale = await prompts.call("PATCH", "prompts/greet", {"tags": []}, headers={"If-Match": etag})
        assert stale.status == 412

    async def test_delete_takes_everything_at_once(self, prompts: Project):
        made = await prompts.create()
        assert (await prompts.render({"name": "A"})).status == 200
        stale = await prompts.call("DELETE", "prompts/greet", headers={"If-Match": '"99"'})
        assert stale.status == 412
        assert (await prompts.call("DELETE", "prompts/greet")).status == 204
        for path in (
            "prompts/greet",
            f"prompts/{made['id']}",
            "prompts/greet/resolve",
            f"prompts/{made['id']}/resolve",
        ):
            assert (await prompts.call("GET", path)).status == 404
        await prompts.create(template="Again {{ name }}")
        assert (await prompts.render({"name": "A"})).body["text"] == "Again A"


class TestVersions:
    async def test_infers_the_variables(self, prompts: Project):
        template = (
            "{{ a }} {{ b | default('x') }}{% if c is defined %}{{ c }}{% endif %}{% for i in d %}{{ i }}{% endfor %}"
        )
        await prompts.create(template=template)
        version = await prompts.get("prompts/greet/versions/1")
        assert sorted(version["variables"]["properties"]) == ["a", "b", "c", "d"]
        assert version["variables"]["required"] == ["a", "d"]

    async def test_the_same_content_as_the_newest_is_that_version(self, prompts: Project):
        await prompts.create(template="one")
        assert await prompts.add_version("two") == 2
        again = await prompts.call("POST", "prompts/greet/versions", {"template": "two", "message": "other words"})
        assert again.status == 200
        assert again.body["version"] == 2
        assert again.body["message"] == ""
        assert await prompts.add_version("one") == 3

    async def test_concurrent_writers_get_a_version_each_and_none_is_lost(self, prompts: Project):
        await prompts.create(template="v1")
        numbers = await asyncio.gather(*(prompts.add_version(f"text {index}") for index in range(12)))
        assert sorted(numbers) == list(range(2, 14))
        page = await prompts.get("prompts/greet/versions?limit=200")
        assert {item["template"] for item in page["items"]} == {"v1"} | {f"text {index}" for index in range(12)}
        assert (await prompts.get("prompts/greet"))["latest_version"] == 13

    async def test_concurrent_writers_of_the_same_content_share_a_version(self, prompts: Project):
        await prompts.create(template="v1")
        body = {"template": "v2"}
        answers = await asyncio.gather(*(prompts.call("POST", "prompts/greet/versions", body) for _ in range(8)))
        assert {answer.body["version"] for answer in answers} == {2}
        assert [answer.status for answer in answers].count(201) == 1

    async def test_refuses_the_other_type(self, prompts: Project):
        await prompts.create()
        body = {"messages": [{"role": "user", "content": "x"}]}
        assert (await prompts.call("POST", "prompts/greet/versions", body)).status == 422

    @pytest.mark.parametrize(
        "schema",
        [
            {"type": "nonsense"},
            {"type": "array"},
            {"type": "object", "properties": {}},
            {"type": "object", "properties": {"name": {"pattern": "(?=a)b"}}},
            {"type": "object", "properties": {"name": {"$ref": "http://127.0.0.1:1/schema"}}},
        ],
    )
    async def test_refuses_a_schema_that_is_none_or_misses_a_variable(self, prompts: Project, schema: Any):
        await prompts.create()
        body = {"template": "Hi {{ name }}", "variables": schema}
        answer = await prompts.call("POST", "prompts/greet/versions", body)
        assert answer.status == 422
        assert answer.body["errors"][0]["loc"][:2] == ["body", "variables"]

    async def test_a_property_may_be_called_like_a_keyword(self, prompts: Project):
        schema = {"type": "object", "properties": {"pattern": {"type": "string"}}, "required": ["pattern"]}
        await prompts.create(template="{{ pattern }}", variables=schema)
        assert (await prompts.render({"pattern": "p"})).body["text"] == "p"

    async def test_pages_newest_first(self, prompts: Project):
        await prompts.create(template="v1")
        for number in range(2, 6):
            await prompts.add_version(f"v{number}")
        page = await prompts.get("prompts/greet/versions?limit=3")
        rest = await prompts.get(f"prompts/greet/versions?limit=3&cursor={page['next_cursor']}")
        assert [item["version"] for item in page["items"] + rest["items"]] == [5, 4, 3, 2, 1]
        assert (await prompts.call("GET", "prompts/greet/versions/6")).status == 404


class TestPromote:
    async def test_of_twenty_promoters_one_wins(self, prompts: Project):
        await prompts.create(template="v1")
        await prompts.add_version("v2")
        answers = await asyncio.gather(*(prompts.promote(2, expected=1) for _ in range(20)))
        assert sorted(answer.status for answer in answers) == [200] + [409] * 19
        lost = next(answer for answer in answers if answer.status == 409)
        assert lost.body["current"] == 2
        assert len((await prompts.get("prompts/greet/promotions"))["items"]) == 2

    async def test_records_who_when_from_to_and_why(self, prompts: Project):
        await prompts.create(template="v1")
        await prompts.add_version("v2")
        await prompts.promote(2, reason="warmer", headers={"X-Studio-Actor": "ann"})
        await prompts.promote(1, label="staging")
        page = await prompts.get("prompts/greet/promotions?limit=1")
        assert (page["items"][0]["label"], page["items"][0]["from"]) == ("staging", None)
        last = (await prompts.get(f"prompts/greet/promotions?limit=1&cursor={page['next_cursor']}"))["items"][0]
        assert (last["from"], last["to"], last["actor"], last["reason"]) == (1, 2, "ann", "warmer")
        assert last["promoted_at"].endswith("Z")

    async def test_expected_null_means_a_new_label(self, prompts: Project):
        await prompts.create(template="v1")
        assert (await prompts.promote(1, label="beta", expected=None)).status == 200
        assert (await prompts.promote(1, label="beta", expected=None)).status == 409

    async def test_refuses_a_version_that_is_not_there(self, prompts: Project):
        await prompts.create(template="v1")
        assert (await prompts.promote(2)).status == 404
        assert (await prompts.promote(0)).status == 422


class TestResolve:
    async def test_hits_after_a_miss_by_name_and_by_id(self, prompts: Project):
        made = await prompts.create(template="v1")
        for ref in ("greet", made["id"]):
            states = [(await prompts.get(f"prompts/{ref}/resolve"))["cache"] for _ in range(2)]
            assert states[1] == "hit"
        found = await prompts.get("prompts/greet/resolve?version=1")
        assert (found["version"], found["template"], found["prompt"]["id"]) == (1, "v1", made["id"])

    async def test_an_unknown_label_is_never_another_version(self, prompts: Project):
        await prompts.create(template="v1")
        assert (await prompts.call("GET", "prompts/greet/resolve?label=staging")).status == 404
        assert (await prompts.call("GET", "prompts/greet/resolve?version=2")).status == 404
        assert (await prompts.call("GET", "prompts/greet/resolve?version=1&label=production")).status == 422
        assert (await prompts.call("GET", "prompts/nothing/resolve")).status == 404


class TestRender:
    async def test_chat_puts_messages_in_unchanged(self, prompts: Project):
        messages = [
            {"role": "system", "content": "You are {{ who }}."},
            {"placeholder": "history"},
            {"role": "user", "content": "{{ question }}"},
        ]
        await prompts.call(
            "POST", "prompts", {"name": "chat", "project_id": prompts.id, "messages": messages, "label": "production"}
        )
        history = [{"role": "assistant", "content": None, "tool_calls": [{"id": "1", "x": {"{{ y }}": 1}}]}]
        answer = await prompts.render({"who": "Bo", "question": "{{ 7 * 7 }}", "history": history}, "chat")
        assert answer.body["messages"] == [
            {"role": "system", "content": "You are Bo."},
            *history,
            {"role": "user", "content": "{{ 7 * 7 }}"},
        ]
        assert len(answer.body["content_hash"]) == 64
        wrong = await prompts.render({"who": "Bo", "question": "?", "history": "text"}, "chat")
        assert wrong.body["errors"][0]["loc"] == ["body", "variables", "history"]

    async def test_names_what_is_missing_and_what_is_surplus(self, prompts: Project):
        await prompts.create()
        answer = await prompts.render({"nam": "A"})
        assert answer.status == 422
        assert [(error["loc"][-1], error["type"]) for error in answer.body["errors"]] == [
            ("name", "missing"),
            ("nam", "surplus"),
        ]

    async def test_checks_a_given_schema(self, prompts: Project):
        schema = {
            "type": "object",
            "properties": {"n": {"type": "integer", "maximum": 9}, "tone": {"enum": ["dry", "warm"]}},
            "required": ["n"],
        }
        await prompts.create(template="{{ n }}{{ tone | default('') }}", variables=schema)
        assert (await prompts.render({"n": 3})).body["text"] == "3"
        wrong = await prompts.render({"n": 12, "tone": "loud"})
        assert {error["loc"][-1] for error in wrong.body["errors"]} == {"n", "tone"}

    async def test_plain_never_touches_a_brace(self, prompts: Project):
        await prompts.create(template='{"a": "{{ b }}"} {% x', engine="plain")
        assert (await prompts.render({})).body["text"] == '{"a": "{{ b }}"} {% x'
        assert (await prompts.render({"b": 1})).status == 422

    async def test_the_hash_is_of_what_was_rendered(self, prompts: Project):
        await prompts.create()
        hashes = [(await prompts.render({"name": name})).body["content_hash"] for name in ("A", "B", "A")]
        assert hashes[0] == hashes[2] != hashes[1]

    @pytest.mark.parametrize(
        "template",
        [
            "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
            "{{ 'x' * 10**9 }}",
            "{% for i in range(99999) %}{{ 'x' * 100 }}{% endfor %}",
        ],
    )
    async def test_stops_what_is_too_much_and_serves_others_meanwhile(self, prompts: Project, template: str):
        await prompts.create()
        loop = asyncio.get_running_loop()
        started = loop.time()
        evil = asyncio.create_task(prompts.call("POST", "render", {"template": template}))
        quick = await asyncio.gather(*(prompts.render({"name": "A"}) for _ in range(10)))
        assert {answer.status for answer in quick} == {200}
        assert (await evil).status == 422
        assert loop.time() - started < 2

    async def test_bodies_that_are_not_json_or_have_unknown_fields(self, prompts: Project):
        await prompts.create()
        assert (await prompts.call("POST", "prompts/greet/render", {"variables": {"name": "A"}, "x": 1})).status == 422
        url = f"{prompts.url}/api/v1/prompts/greet/render"
        async with prompts.session.post(url, data=b"{", headers={"Content-Type": "application/json"}) as response:
            assert response.status == 422
            assert (await response.json(content_type=None))["errors"][0]["loc"] == ["body"]


class TestDocuments:
    async def test_applying_an_export_changes_nothing(self, prompts: Project, prompt_url: str):
        async with PromptClient(prompt_url, actor="ci") as client:
            documents = [
                PromptDocument(name="one", project_id=prompts.id, template="Hi {{ a }}", tags=["t"], config={"k": 1}),
                PromptDocument.model_validate(
                    {
                        "name": "two",
                        "project_id": prompts.id,
                        "messages": [{"role": "user", "content": "{{ b }}"}, {"placeholder": "h"}],
                        "label": "beta",
                    }
                ),
                PromptDocument(name="three", project_id=prompts.id, template="x", engine="plain", label=None),
            ]
            assert [one.action for one in (await client.apply(documents, dry_run=True)).results] == ["created"] * 3
            assert await client.export(project_id=prompts.id) == []
            assert [one.action for one in (await client.apply(documents)).results] == ["created"] * 3
            before = (await prompts.get("prompts"))["items"]
            exported = await client.export(project_id=prompts.id)
            assert [one.name for one in exported] == ["one", "three", "two"]
            assert [one.action for one in (await client.apply(exported)).results] == ["unchanged"] * 3
            assert (await prompts.get("prompts"))["items"] == before
            assert (await prompts.get("prompts/one/promotions"))["items"][0]["actor"] == "ci"

    async def test_applying_other_content_makes_a_version_and_promotes_it(self, prompts: Project, prompt_url: str):
        async with PromptClient(prompt_url) as client:
            document = PromptDocument(name="greet", project_id=prompts.id, template="one {{ a }}")
            await client.apply([document])
            changed = document.model_copy(update={"template": "two {{ a }}"})
            assert (await client.apply([changed])).results[0].action == "updated"
            rendered = await client.render("greet", {"a": 1}, project_id=prompts.id)
            assert (rendered.text, rendered.version) == ("two 1", 2)
            assert (await client.apply([changed])).results[0].action == "unchanged"

    async def test_nothing_is_written_when_one_is_wrong(self, prompts: Project, prompt_url: str):
        async with PromptClient(prompt_url) as client:
            good = PromptDocument(name="good", project_id=prompts.id, template="x")
            bad = PromptDocument(name="bad", project_id=prompts.id, template="{{ x")
            with pytest.raises(InvalidInput) as caught:
                await client.apply([good, bad])
            assert caught.value.errors[0].loc == ["body", "prompts", 1, "template"]
            with pytest.raises(InvalidInput):
                await client.apply([good, good])
            assert (await prompts.get("prompts"))["items"] == []


class TestClient:
    async def test_answers_become_errors(self, prompts: Project, prompt_url: str):
        await prompts.create()
        async with PromptClient(prompt_url) as client:
            with pytest.raises(NotFound):
                await client.render("nothing", {}, project_id=prompts.id)
            with pytest.raises(InvalidInput) as caught:
                await client.render("greet", {}, project_id=prompts.id)
            assert caught.value.errors[0].loc == ["body", "variables", "name"]
            with pytest.raises(NotFound):
                await client.render("../../health/live", {}, project_id=prompts.id)
        async with PromptClient("http://127.0.0.1:9") as client:
            with pytest.raises(DependencyUnavailable) as gone:
                await client.render("greet", {})
            assert gone.value.dependency == "prompt engine"
