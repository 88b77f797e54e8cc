import asyncio
from typing import Any

import pytest

from tests.support.services import RunningApi

AGENT: dict[str, Any] = {"name": "writer", "instructions": "Write about {{ topic }}.", "params": {"temperature": 0.2}}
WORKFLOW: dict[str, Any] = {
    "name": "brief",
    "pattern": "sequential",
    "steps": [
        {"id": "plan", "agent": {"instructions": "Plan."}, "timeout": "90s"},
        {"id": "write", "agent": "writer", "input": {"topic": "${{ input.topic }}"}},
    ],
    "output": "${{ steps.write.output }}",
}


class TestCreate:
    async def test_answers_with_what_was_given_and_what_the_store_adds(self, api: RunningApi) -> None:
        answer = await api.post("/agents", AGENT)
        agent = answer.ok(201)
        assert agent["id"].startswith("agt_")
        assert agent["version"] == 1
        assert agent["project_id"] == "default"
        assert agent["created_at"] == agent["updated_at"]
        assert agent["created_at"].endswith("Z")
        assert AGENT.items() <= agent.items()
        assert answer.headers["location"] == f"/api/v1/agents/{agent['id']}"
        assert answer.headers["etag"].strip('"')
        assert (await api.get(f"/agents/{agent['id']}")).ok() == agent
        assert (await api.get("/agents/writer")).ok() == agent

    async def test_same_name_in_the_same_project(self, api: RunningApi) -> None:
        (await api.post("/agents", AGENT)).ok(201)
        assert "writer" in (await api.post("/agents", AGENT)).problem(409, "conflict")["detail"]
        (await api.post("/agents", AGENT | {"project_id": "other"})).ok(201)
        (await api.get("/agents/writer", project_id="third")).problem(404, "not-found")

    async def test_of_ten_at_once_one_wins(self, api: RunningApi) -> None:
        answers = await asyncio.gather(*(api.post("/agents", AGENT) for _ in range(10)))
        assert sorted(answer.status for answer in answers) == [201] + [409] * 9

    async def test_workflow_names_an_unknown_agent(self, api: RunningApi) -> None:
        (await api.post("/agents", AGENT | {"name": "writers"})).ok(201)
        answer = await api.post("/workflows", WORKFLOW)
        assert answer.places() == [["body", "steps", 1, "agent"]]
        assert answer.json["errors"][0]["hint"] == "did you mean 'writers'?"
        assert (await api.get("/workflows")).ok()["items"] == []

    async def test_workflow_names_an_agent_by_id(self, api: RunningApi) -> None:
        agent = (await api.post("/agents", AGENT)).ok(201)
        steps = [{"id": "write", "agent": agent["id"]}]
        stored = (await api.post("/workflows", WORKFLOW | {"steps": steps})).ok(201)
        assert stored["steps"] == steps

    async def test_workflow_shows_only_what_was_given(self, api: RunningApi) -> None:
        (await api.post("/agents", AGENT)).ok(201)
        stored = (await api.post("/workflows", WORKFLOW)).ok(201)
        assert stored["steps"][0] == {"id": "plan", "agent": {"instructions": "Plan."}, "timeout": "1m30s"}


class TestReplace:
    async def test_makes_a_version(self, api: RunningApi) -> None:
        first = await api.post("/agents", AGENT)
        second = await api.request("PUT", "/agents/writer", AGENT | {"model": "big"}, headers={"X-Studio-Actor": "ada"})
        agent = second.ok()
        assert (agent["version"], agent["model"]) == (2, "big")
        assert agent["id"] == first.json["id"]
        assert agent["updated_at"] > agent["created_at"]
        assert second.headers["etag"] != first.headers["etag"]

        versions = (await api.get("/agents/writer/versions")).ok()["items"]
        assert [(version["version"], version["actor"], version.get("model")) for version in versions] == [
            (2, "ada", "big"),
            (1, "anonymous", None),
        ]
        assert (await api.get("/agents/writer/versions/1")).ok()["version"] == 1
        assert "newest is 2" in (await api.get("/agents/writer/versions/3")).problem(404, "not-found")["detail"]

    async def test_same_document_is_no_new_version(self, api: RunningApi) -> None:
        first = await api.post("/agents", AGENT)
        again = await api.request("PUT", "/agents/writer", AGENT)
        assert again.ok() == first.json
        assert again.headers["etag"] == first.headers["etag"]

    async def test_stale_if_match(self, api: RunningApi) -> None:
        etag = (await api.post("/agents", AGENT)).headers["etag"]
        changed = AGENT | {"model": "big"}
        (await api.request("PUT", "/agents/writer", changed, headers={"If-Match": etag})).ok()
        for method, body in (("PUT", changed), ("PATCH", {"model": "small"}), ("DELETE", None)):
            stale = await api.request(method, "/agents/writer", body, headers={"If-Match": etag})
            stale.problem(412, "precondition-failed")
        assert (await api.get("/agents/writer")).ok()["version"] == 2

    async def test_of_two_with_the_same_if_match_one_wins(self, api: RunningApi) -> None:
        etag = (await api.post("/agents", AGENT)).headers["etag"]
        answers = await asyncio.gather(
            *(
                api.request("PUT", "/agents/writer", AGENT | {"model": f"m{n}"}, headers={"If-Match": etag})
                for n in range(5)
            )
        )
        assert sorted(answer.status for answer in answers) == [200, 412, 412, 412, 412]

    async def test_name_and_project_stay(self, api: RunningApi) -> None:
        (await api.post("/agents", AGENT | {"project_id": "p1"})).ok(201)
        moved = await api.request("PUT", "/agents/writer", AGENT | {"name": "other"}, project_id="p1")
        assert moved.places() == [["body", "name"]]
        kept = await api.request("PUT", "/agents/writer", AGENT, project_id="p1")
        assert kept.ok()["project_id"] == "p1"

    async def test_unknown(self, api: RunningApi) -> None:
        (await api.request("PUT", "/agents/writer", AGENT)).problem(404, "not-found")


class TestPatch:
    async def test_merges(self, api: RunningApi) -> None:
        (await api.post("/agents", AGENT)).ok(201)
        patch = {"params": {"max_tokens": 5, "temperature": None}, "instructions": None, "message": "{{ q }}"}
        answer = await api.request("PATCH", "/agents/writer", patch, content_type="application/merge-patch+json")
        agent = answer.ok()
        assert agent["params"] == {"max_tokens": 5}
        assert "instructions" not in agent
        assert (agent["message"], agent["version"]) == ("{{ q }}", 2)

    async def test_what_comes_out_is_checked(self, api: RunningApi) -> None:
        (await api.post("/agents", AGENT)).ok(201)
        assert (await api.request("PATCH", "/agents/writer", {"modle": "x"})).places() == [["body", "modle"]]
        assert (await api.request("PATCH", "/agents/writer", {"message": "{{"})).places() == [["body", "message"]]
        assert (await api.request("PATCH", "/agents/writer", {"name": "x"})).places() == [["body", "name"]]
        assert (await api.get("/agents/writer")).ok()["version"] == 1

    async def test_twenty_at_once_lose_nothing(self, api: RunningApi) -> None:
        (await api.post("/agents", AGENT)).ok(201)
        answers = await asyncio.gather(
            *(api.request("PATCH", "/agents/writer", {"params": {f"p{n}": n}}) for n in range(20))
        )
        assert {answer.status for answer in answers} == {200}
        agent = (await api.get("/agents/writer")).ok()
        assert agent["version"] == 21
        assert {f"p{n}" for n in range(20)} <= agent["params"].keys()


class TestDelete:
    async def test_gone(self, api: RunningApi) -> None:
        (await api.post("/agents", AGENT)).ok(201)
        (await api.request("DELETE", "/agents/writer")).ok(204)
        (await api.get("/agents/writer")).problem(404, "not-found")
        (await api.request("DELETE", "/agents/writer")).problem(404, "not-found")
        assert (await api.post("/agents", AGENT)).ok(201)["version"] == 1

    async def test_agent_that_workflows_name(self, api: RunningApi) -> None:
        (await api.post("/agents", AGENT)).ok(201)
        (await api.post("/agents", AGENT | {"name": "writ_r"})).ok(201)
        (await api.post("/agents", AGENT | {"project_id": "other"})).ok(201)
        (await api.post("/workflows", WORKFLOW)).ok(201)
        refused = (await api.request("DELETE", "/agents/writer")).problem(409, "conflict")
        assert refused["workflows"] == ["brief"]
        assert "'brief'" in refused["detail"]
        (await api.request("DELETE", "/agents/writ_r")).ok(204)
        (await api.request("DELETE", "/agents/writer", project_id="other")).ok(204)
        (await api.request("DELETE", "/workflows/brief")).ok(204)
        (await api.request("DELETE", "/agents/writer")).ok(204)

    async def test_agent_while_a_workflow_that_names_it_is_stored(self, api: RunningApi) -> None:
        for attempt in range(5):
            name = f"writer{attempt}"
            (await api.post("/agents", AGENT | {"name": name})).ok(201)
            workflow = {"name": f"w{attempt}", "pattern": "sequential", "steps": [{"id": "s", "agent": name}]}
            deleted, stored = await asyncio.gather(
                api.request("DELETE", f"/agents/{name}"), api.post("/workflows", workflow)
            )
            assert (deleted.status, stored.status) in {(204, 422), (409, 201)}


class TestList:
    async def test_pages_stay_stable_while_rows_are_added(self, api: RunningApi) -> None:
        for number in range(7):
            (await api.post("/agents", AGENT | {"name": f"a{number}"})).ok(201)
        names: list[str] = []
        cursor: str | None = None
        for page in range(4):
            query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
            body = (await api.get("/agents", **query)).ok()
            names += [item["name"] for item in body["items"]]
            cursor = body["next_cursor"]
            (await api.post("/agents", AGENT | {"name": f"late{page}"})).ok(201)
        assert names == [f"a{number}" for number in reversed(range(7))]
        assert cursor is None

    async def test_filters(self, api: RunningApi) -> None:
        (await api.post("/agents", AGENT | {"name": "alpha", "description": "Writes 100% of it"})).ok(201)
        (await api.post("/agents", AGENT | {"name": "beta", "project_id": "p2"})).ok(201)

        async def names(**query: str) -> list[str]:
            return [item["name"] for item in (await api.get("/agents", **query)).ok()["items"]]

        assert await names() == ["beta", "alpha"]
        assert await names(project_id="p2") == ["beta"]
        assert await names(q="ALPH") == ["alpha"]
        assert await names(q="100%") == ["alpha"]
        assert await names(q="%") == ["alpha"]
        assert await names(q="_") == []

    @pytest.mark.parametrize(
        "query",
        [
            {"limit": 0},
            {"limit": 201},
            {"limit": "x"},
            {"cursor": "x"},
            {"cursor": "WzFd!"},
            {"q": ""},
            {"project_id": "A B"},
        ],
    )
    async def test_wrong_query(self, api: RunningApi, query: dict[str, Any]) -> None:
        ((place, name),) = (await api.get("/agents", **query)).places()
        assert (place, name) == ("query", next(iter(query)))

    async def test_versions_page(self, api: RunningApi) -> None:
        (await api.post("/agents", AGENT)).ok(201)
        for number in range(4):
            (await api.request("PATCH", "/agents/writer", {"model": f"m{number}"})).ok()
        first = (await api.get("/agents/writer/versions", limit=3)).ok()
        rest = (await api.get("/agents/writer/versions", limit=3, cursor=first["next_cursor"])).ok()
        assert [item["version"] for item in first["items"] + rest["items"]] == [5, 4, 3, 2, 1]
        assert rest["next_cursor"] is None
