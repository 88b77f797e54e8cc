"""Parked steps and the inbox of approvals over REST."""

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from activities.worker import open_worker
from studio.contracts.base import Json, JsonObject
from studio.web.paging import encode_cursor
from tests.api.conftest import Live, open_live
from tests.api.runs.test_steering import until_waiting
from tests.support.scripted_upstream import Reply
from tests.support.services import RunningApi

REFUSED = Reply(status=400, error={"error": {"message": "no"}})
TYPED: JsonObject = {"type": "object", "properties": {"n": {"type": "integer"}}}


def ask(step_id: str, **fields: Json) -> JsonObject:
    return {"id": step_id, "agent": {"message": f"ask {step_id}"}, **fields}


async def resolve(live: Live, run_id: str, path: str, **body: Json) -> Any:
    headers = {"X-Studio-Actor": "ada"}
    return await live.api.request("POST", f"/runs/{run_id}/steps/{path}/resolve", body, headers=headers)


class TestResolve:
    async def test_what_failed_is_retried_finished_skipped_and_failed(self, live: Live) -> None:
        live.upstream.when("ask a", REFUSED, Reply(text="one"))
        for step in "bcd":
            live.upstream.when(f"ask {step}", REFUSED)
        await live.workflow(ask("a"), ask("b", output_schema=TYPED), ask("c"), ask("d"), on_failure="pause")
        run_id = await live.start()
        await until_waiting(live, run_id, "a")
        run = (await live.api.get(f"/runs/{run_id}")).ok()
        assert run["status"] == "paused"
        assert run["steps"][0]["waiting"]["error"]["type"] == "invalid_request"

        again = (await resolve(live, run_id, "a", action="retry")).ok()
        assert (again["id"], again["status"], again["attempt"]) == ("a", "running", 2)
        late = (await resolve(live, run_id, "a", action="skip")).problem(409, "conflict")
        assert "does not wait to be resolved: it is" in late["detail"]

        await until_waiting(live, run_id, "b")
        unfit = await resolve(live, run_id, "b", action="done", output={"n": "x"})
        assert unfit.places() == [["body", "output", "n"]]
        done = (await resolve(live, run_id, "b", action="done", output={"n": 1})).ok()
        assert (done["status"], done["output"], done["resolved_by"]) == ("succeeded", {"n": 1}, "ada")
        await until_waiting(live, run_id, "c")
        (await resolve(live, run_id, "c", action="skip")).ok()
        await until_waiting(live, run_id, "d")
        (await resolve(live, run_id, "d", action="fail")).ok()

        run = await live.api.finished(run_id)
        assert [(step["status"], step["attempt"], step["resolved_by"]) for step in run["steps"]] == [
            ("succeeded", 2, None),
            ("succeeded", 1, "ada"),
            ("skipped", 1, "ada"),
            ("failed", 1, "ada"),
        ]
        assert run["error"]["step_id"] == "d"
        (await resolve(live, run_id, "d", action="retry")).problem(409, "conflict")

    async def test_in_a_child_workflow_inside_a_map(self, live: Live) -> None:
        live.upstream.when("ask", REFUSED, REFUSED)
        await live.workflow(ask("a"), name="inner", on_failure="pause")
        await live.workflow({"id": "m", "parallel": {"for_each": [1, 2], "do": {"id": "c", "workflow": "inner"}}})
        run_id = await live.start()
        for number in (1, 0):
            path = f"m/c[{number}]/a"
            await until_waiting(live, run_id, path)
            step = (await resolve(live, run_id, path, action="done", output=number)).ok()
            assert step["id"] == path
        assert (await live.api.finished(run_id))["output"] == [0, 1]

    @pytest.mark.parametrize(
        ("body", "place"),
        [
            ({"action": "retry", "output": 1}, ["body", "output"]),
            ({"action": "again"}, ["body", "action"]),
            ({}, ["body", "action"]),
        ],
    )
    async def test_nonsense_is_refused_with_its_place(
        self, api: RunningApi, body: JsonObject, place: list[str]
    ) -> None:
        answer = await api.post("/runs/run_1/steps/a/resolve", body)
        assert answer.places() == [place]

    async def test_a_step_that_is_not_there_or_not_parked(self, live: Live) -> None:
        await live.workflow({"id": "w", "wait": {"for": "1h"}}, on_failure="pause")
        run_id = await live.start()
        await until_waiting(live, run_id, "w")
        (await resolve(live, run_id, "other", action="retry")).problem(404, "not-found")
        (await resolve(live, run_id, "w", action="skip")).problem(409, "conflict")
        (await live.api.post(f"/runs/{run_id}/cancel")).ok(202)
        await live.api.finished(run_id)


APPROVE: JsonObject = {"id": "ok", "approval": {"message": "Send?"}, "input": "hi"}
IN_BRANCHES: JsonObject = {
    "id": "l",
    "loop": {
        "do": [{"id": "m", "parallel": {"for_each": [0, 1, 2], "do": {"id": "c", "sequential": {"steps": [APPROVE]}}}}],
        "until": "${{ iteration == 1 }}",
    },
}


async def inbox(live: Live, **query: Any) -> list[JsonObject]:
    return (await live.api.get("/approvals", **query)).ok()["items"]


async def until_inbox(live: Live, paths: list[str], **query: Any) -> list[JsonObject]:
    """The inbox once it holds these steps."""
    target = "/approvals" + ("?" + "&".join(f"{name}={value}" for name, value in query.items()) if query else "")
    found = await live.api.until(target, lambda page: sorted(one["step_id"] for one in page["items"]) == sorted(paths))
    return found["items"]


async def decide(live: Live, run_id: str, path: str, **body: Json) -> Any:
    return await live.api.post(f"/runs/{run_id}/approvals/{quote(path)}", body)


async def answered(live: Live, run_id: str, path: str, **body: Json) -> JsonObject:
    """Ask again for as long as no worker has time."""
    while (answer := await decide(live, run_id, path, **body)).status == 503:  # noqa: ASYNC110 - HTTP has no event to wait for
        await asyncio.sleep(0.1)
    return answer.ok()


class TestInbox:
    async def test_in_branches_inside_a_loop_any_order_and_only_once(self, live: Live) -> None:
        await live.workflow(IN_BRANCHES)
        run_id = await live.start()
        for number in (0, 1):
            paths = [f"l#{number}/m/c[{item}]/ok" for item in range(3)]
            shown = {one["step_id"]: one for one in await until_inbox(live, paths)}
            assert shown[paths[0]]["workflow"] == "test"
            (await decide(live, run_id, paths[0], decision="approve", hash="0" * 64)).problem(409, "conflict")
            for path in (paths[2], paths[0]):
                answer = await answered(live, run_id, path, decision="reject", hash=shown[path]["hash"])
                assert answer["decision"] == "reject"
            assert [one["step_id"] for one in await inbox(live)] == [paths[1]]
            answers = await asyncio.gather(
                *(
                    answered(live, run_id, paths[1], decision="approve", comment=f"caller {caller}")
                    for caller in range(20)
                )
            )
            assert [answer["accepted"] for answer in answers].count(True) <= 1  # who heard 503 before may have decided
            (counts,) = {answer["comment"] for answer in answers}
            assert not (await answered(live, run_id, paths[2], decision="approve"))["accepted"]
        run = await live.api.finished(run_id)
        assert [one["decision"] for one in run["output"]] == ["reject", "approve", "reject"]
        assert run["output"][1]["comment"] == counts
        assert await inbox(live) == []

    async def test_children_too_and_lists_say_how_the_run_stands(self, live: Live) -> None:
        await live.workflow(APPROVE, {"id": "then", "wait": {"signal": "go"}}, name="inner")
        await live.workflow({"id": "c", "workflow": "inner"})
        run_id = await live.start()
        (one,) = await until_inbox(live, ["c/ok"])
        assert (one["run_id"], one["message"], one["input"]) == (run_id, "Send?", "hi")
        await live.api.until("/runs?status=waiting", lambda page: [run["id"] for run in page["items"]] == [run_id])
        await live.api.post(f"/runs/{run_id}/pause")
        await live.api.until("/runs?status=paused", lambda page: len(page["items"]) == 1)
        await decide(live, run_id, "c/ok", decision="approve")
        assert await inbox(live) == []
        await live.api.post(f"/runs/{run_id}/resume")
        await until_waiting(live, run_id, "c/then")
        await live.api.until("/runs?status=waiting", lambda page: len(page["items"]) == 1)
        await live.api.post(f"/runs/{run_id}/signals/go")
        assert (await live.api.finished(run_id))["status"] == "succeeded"

    async def test_pages_filters_and_what_is_escalated(self, live: Live) -> None:
        late = {"timeout": "1ms", "on_timeout": "escalate", "escalation": {"to": "boss"}}
        await live.workflow(APPROVE | {"approval": {"message": "Now?", **late}}, name="late")
        await live.workflow({"id": "m", "parallel": {"branches": [APPROVE, APPROVE | {"id": "ok2"}]}})
        first = (await live.api.post("/workflows/late/runs", {})).ok(202)["id"]
        await until_inbox(live, ["ok"], escalated="true")
        second = await live.start()
        await until_inbox(live, ["ok", "m/ok", "m/ok2"])
        everything = await inbox(live)
        assert [one["run_id"] for one in everything] == [first, second, second]
        assert (everything[0]["escalated"], everything[0]["escalate_to"]) == (True, "boss")
        one_by_one: list[JsonObject] = []
        cursor: dict[str, str] = {}
        while len(one_by_one) < 3:
            page = (await live.api.get("/approvals", limit=1, **cursor)).ok()
            one_by_one += page["items"]
            cursor = {"cursor": page["next_cursor"]}
        assert (one_by_one, cursor["cursor"]) == (everything, None)
        assert await inbox(live, workflow="late") == await inbox(live, run_id=first) == everything[:1]
        assert await inbox(live, escalated="false") == everything[1:]
        assert await inbox(live, project_id="other") == []
        await live.api.post(f"/runs/{second}/cancel")
        await live.api.finished(second)
        assert await inbox(live) == everything[:1]

    @pytest.mark.parametrize("cursor", ["x", encode_cursor("soon", "run_1", "a"), encode_cursor(1)])
    async def test_a_cursor_of_something_else(self, api: RunningApi, cursor: str) -> None:
        assert (await api.get("/approvals", cursor=cursor)).places() == [["query", "cursor"]]


class TestWithoutAWorker:
    async def test_the_inbox_shows_what_waits_and_a_decision_is_refused_soon(
        self, tmp_path: Path, temporal_address: str, redis_url: str, database_url: str
    ) -> None:
        async with open_live(tmp_path, temporal_address, redis_url, database_url, worker=False) as live:
            await live.workflow(APPROVE)
            async with open_worker(live.engine.settings) as worker, worker:
                run_id = await live.start()
                await until_inbox(live, ["ok"])
            assert [one["run_id"] for one in await inbox(live)] == [run_id]
            assert (await live.api.get("/runs", status="waiting")).ok()["items"][0]["id"] == run_id
            async with asyncio.timeout(5):
                answer = await decide(live, run_id, "ok", decision="approve")
            assert "No worker answers" in answer.problem(503, "dependency-unavailable")["detail"]
