"""Requests whose answer was lost, and what is said of what was misspelt."""

import asyncio

from studio.contracts.base import Json, JsonObject
from tests.api.conftest import Live
from tests.support.scripted_upstream import Reply

ASK: JsonObject = {"id": "ask", "agent": {"message": "question"}, "retry": {"max_attempts": 1}}


class TestRetry:
    async def test_a_key_that_is_sent_again_retries_once(self, lite: Live) -> None:
        await lite.workflow(ASK)
        lite.upstream.default = Reply(status=400)
        run_id = await lite.start()
        assert (await lite.api.finished(run_id))["status"] == "failed"

        async def retry(key: str, **body: Json) -> JsonObject:
            headers = {"Idempotency-Key": key}
            return (await lite.api.request("POST", f"/runs/{run_id}/retry", body, headers=headers)).ok(202)

        answers = await asyncio.gather(*(retry("k") for _ in range(30)))
        assert {answer["retry_count"] for answer in answers} == {1}
        await lite.api.until(f"/runs/{run_id}", lambda run: run["status"] == "failed")
        assert (await retry("k"))["retry_count"] == 1
        assert (await retry("another"))["retry_count"] == 2
        headers = {"Idempotency-Key": "k"}
        other = await lite.api.request("POST", f"/runs/{run_id}/retry", {"from_step": "ask"}, headers=headers)
        assert "was used with another body" in other.problem(409, "conflict")["detail"]

    async def test_waits_for_the_end(self, lite: Live) -> None:
        await lite.workflow(ASK)
        lite.upstream.default = Reply(status=400)
        run_id = await lite.start()
        assert (await lite.api.finished(run_id))["status"] == "failed"
        lite.upstream.default = Reply(text="done")
        answer = (await lite.api.post(f"/runs/{run_id}/retry?wait=20")).ok()
        assert (answer["status"], answer["output"]) == ("succeeded", "done")


class TestSignals:
    async def test_a_name_that_no_step_waits_for(self, lite: Live) -> None:
        await lite.workflow({"id": "w", "wait": {"signal": "paid", "timeout": "1h"}})
        run_id = await lite.start()
        await lite.api.until(f"/runs/{run_id}", lambda run: run["status"] == "waiting")
        problem = (await lite.api.post(f"/runs/{run_id}/signals/paidd")).problem(422, "invalid-input")
        assert problem["errors"][0]["hint"] == "did you mean 'paid'?"
        (await lite.api.post(f"/runs/{run_id}/signals/paid")).ok(202)
        assert (await lite.api.finished(run_id))["status"] == "succeeded"


class TestApprovals:
    async def test_null_is_no_edit(self, lite: Live) -> None:
        await lite.workflow({"id": "ok", "approval": {"message": "Send?", "allow_edit": True}, "input": "letter"})
        run_id = await lite.start()
        await lite.api.until(f"/runs/{run_id}", lambda run: run["status"] == "waiting")
        (await lite.api.post(f"/runs/{run_id}/approvals/ok", {"decision": "approve", "edit": None})).ok()
        output = (await lite.api.finished(run_id))["output"]
        assert (output["value"], output.get("edited", False)) == ("letter", False)

    async def test_one_that_is_not_there_says_what_waits(self, lite: Live) -> None:
        inner: JsonObject = {"id": "ok", "approval": {"message": "Go on?"}}
        await lite.workflow({"id": "l", "loop": {"do": [inner], "max_iterations": 1, "until": "${{ true }}"}})
        run_id = await lite.start()
        await lite.api.until(f"/runs/{run_id}", lambda run: run["status"] == "waiting")
        refused = (await lite.api.post(f"/runs/{run_id}/approvals/l", {"decision": "approve"})).problem(
            404, "not-found"
        )
        assert "What waits, as written in a URL: l%230/ok." in refused["detail"]
        (await lite.api.post(f"/runs/{run_id}/approvals/l%230/ok", {"decision": "approve"})).ok()


class TestFilters:
    async def test_an_offset_whose_plus_is_not_escaped(self, lite: Live) -> None:
        refused = await lite.api.get("/runs?created_after=2026-12-01T09:00:00+01:00")
        (error,) = refused.problem(422, "invalid-input")["errors"]
        assert "2026-12-01T09:00:00%2B01:00" in error["msg"]

    async def test_a_number_is_no_time(self, lite: Live) -> None:
        assert (await lite.api.get("/runs?created_before=0.5")).places() == [["query", "created_before"]]
        (await lite.api.get("/runs?created_before=2026-12-01")).ok()


class TestExport:
    async def test_by_name_whatever_kind_it_is(self, lite: Live) -> None:
        await lite.workflow(ASK)
        exported = (await lite.api.get("/export?name=test&kind=workflow&kind=agent")).body.decode()
        assert "name: test" in exported
        missing = (await lite.api.get("/export?name=nope&kind=workflow")).problem(404, "not-found")
        assert "'nope'" in missing["detail"]
