"""Parked steps over REST."""

from typing import Any

import pytest

from studio.contracts.base import Json, JsonObject
from tests.api.conftest import Live
from tests.api.runs.test_steering import until_waiting
from tests.support.scripted_upstream import Reply

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
    async def test_nonsense_is_refused_with_its_place(self, api: Any, body: JsonObject, place: list[str]) -> None:
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
