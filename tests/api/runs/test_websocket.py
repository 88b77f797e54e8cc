import asyncio
import re
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from studio.contracts.base import Json, JsonObject
from tests.api.conftest import Live
from tests.support.scripted_upstream import Reply
from tests.support.services import serving_api
from tests.support.watching import Socket, open_socket, types, watch

ECHO: JsonObject = {"id": "echo", "transform": "${{ input }}"}
ASK: JsonObject = {"id": "ask", "agent": {"message": "question"}}


class TestEvents:
    async def test_the_same_as_over_sse(self, lite: Live) -> None:
        await lite.workflow(ASK, ECHO)
        lite.upstream.default = Reply(text="a b c", hold_after=1)
        run_id = await lite.start()
        socket, stream = await open_socket(lite.api, run_id), await watch(lite.api, run_id)
        seen = await socket.until("token")
        lite.upstream.release()
        seen += await socket.rest()
        assert socket.code == 1000
        assert seen == await stream.rest()
        assert types(seen)[-1] == ("run.succeeded", None)

        middle = len(seen) // 2
        assert await (await open_socket(lite.api, run_id, seen[middle]["seq"])).rest() == seen[middle + 1 :]
        assert await (over := await open_socket(lite.api, run_id, seen[-1]["seq"])).rest() == []
        assert over.code == 1000

    @pytest.mark.parametrize(
        ("run_id", "after", "code", "status", "problem"),
        [
            ("run_nope", None, 4404, 404, "not-found"),
            ("run_%00", None, 4404, 404, "not-found"),
            ("", "nowhere", 4422, 422, "invalid-input"),
        ],
    )
    async def test_what_cannot_be_watched(
        self, idle: Live, run_id: str, after: str | None, code: int, status: int, problem: str
    ) -> None:
        if not run_id:
            await idle.workflow(ECHO)
            run_id = await idle.start()
        socket = await open_socket(idle.api, run_id, after)
        socket.refused(await socket.answer(), status, problem)
        assert await socket.frame() is None
        assert socket.code == code

    async def test_the_server_stops(self, idle: Live) -> None:
        await idle.workflow(ECHO)
        run_id = await idle.start()
        async with aiohttp.ClientSession() as http:
            async with serving_api(idle.api.settings, migrated=False) as other:
                socket = Socket(await http.ws_connect(f"{other.url}/api/v1/runs/{run_id}/ws"))
                first = await socket.until("run.started")
            assert await socket.rest() == []
            assert socket.code == 1012
        again = await open_socket(idle.api, run_id, first[-1]["seq"])
        assert (await again.say(action="cancel"))["type"] == "ack"


class TestDocs:
    async def test_the_reader_in_python(self, lite: Live, capsys: pytest.CaptureFixture[str]) -> None:
        page = (Path(__file__).parents[3] / "docs/streams.md").read_text()
        (code,) = re.findall(r"```python\n(.*?)asyncio\.run", page, re.DOTALL)
        example: dict[str, Any] = {}
        exec(code.replace("localhost:8000", lite.api.url.removeprefix("http://")), example)  # noqa: S102 - our own page
        await lite.workflow(ECHO)
        await example["watch"](await lite.start())
        printed = [line.strip() for line in capsys.readouterr().out.splitlines()]
        assert [line for line in printed if line.startswith(("run.", "step."))] == [
            "run.started",
            "step.started echo",
            "step.succeeded echo",
            "run.succeeded",
        ]


class TestActions:
    async def test_pause_resume_signal_and_approve(self, lite: Live) -> None:
        await lite.workflow(
            {"id": "paid", "wait": {"signal": "paid"}},
            {"id": "review", "approval": {"message": "Send it?", "allow_edit": True}, "input": {"n": 1}},
        )
        socket = await open_socket(lite.api, run_id := await lite.start(), actor="ada")
        await socket.until("step.waiting")
        assert await socket.say(action="pause") == {
            "type": "ack",
            "action": "pause",
            "result": {"run_id": run_id, "status": "paused"},
        }
        await socket.say(action="resume")
        assert (await socket.say(action="signal", name="paid", payload={"amount": 12}))["type"] == "ack"
        (pending,) = (await lite.api.until(f"/runs/{run_id}/approvals", lambda found: bool(found["items"])))["items"]
        stale = await socket.say(action="approve", step_id="review", decision="approve", hash="0" * 64)
        socket.refused(stale, 409, "conflict")
        decided = await socket.say(
            action="approve",
            step_id="review",
            decision="approve",
            comment="fine",
            edit={"n": 2},
            hash=pending["hash"],
        )
        assert decided["result"] == {"decision": "approve", "comment": "fine", "by": "ada", "accepted": True}
        await socket.rest()
        assert socket.code == 1000
        steps = {step["id"]: step["output"] for step in (await lite.api.finished(run_id))["steps"]}
        assert steps["paid"] == {"amount": 12}
        assert (steps["review"]["value"], steps["review"]["by"]) == ({"n": 2}, "ada")

    async def test_cancel_while_tokens_flow(self, lite: Live) -> None:
        await lite.workflow(ASK)
        lite.upstream.default = Reply(tokens=["a "], token_delay=0.005, endless=True)
        socket = await open_socket(lite.api, await lite.start())
        await socket.until("token")
        asked = time.monotonic()
        await socket.ws.send_str('{"action": "cancel"}')
        rest = await socket.rest()
        assert types(rest)[-1] == ("run.cancelled", None)
        assert [answer["type"] for answer in socket.answers] == ["ack"]
        assert socket.code == 1000
        (call,) = await lite.upstream.wait_for_calls(1, "abandoned")
        assert (call.ended or asked) - asked < 2

    async def test_what_is_not_understood_leaves_the_socket_open(self, idle: Live) -> None:
        await idle.workflow(ECHO)
        socket = await open_socket(idle.api, await idle.start())
        cases: list[tuple[str | bytes, int, str]] = [
            ("{", 422, "invalid-input"),
            (b"\x00\xff", 400, "bad-request"),
            ("[" * 200 + "]" * 200, 422, "invalid-input"),
            ("[1]", 422, "invalid-input"),
            ('{"action": "signal", "name": "x", "payload": "' + "x" * 1024 * 1024 + '"}', 413, "payload-too-large"),
            ('{"action": "signal", "name": "x", "payload": "\\u0000"}', 422, "invalid-input"),
            ('{"action": "signal", "name": "studio_pause"}', 422, "invalid-input"),
        ]
        for sent, status, code in cases:
            await (socket.ws.send_bytes(sent) if isinstance(sent, bytes) else socket.ws.send_str(sent))
            socket.refused(await socket.answer(), status, code)
        actions: list[tuple[dict[str, Json], list[str]]] = [
            ({}, ["body", "action"]),
            ({"action": "explode"}, ["body", "action"]),
            ({"action": ["cancel"]}, ["body", "action"]),
            ({"action": "cancel", "why": "x"}, ["body", "why"]),
            ({"action": "approve", "decision": "approve"}, ["body", "step_id"]),
            ({"action": "approve", "step_id": "s", "decision": "maybe"}, ["body", "decision"]),
            ({"action": "signal", "name": "not a name"}, ["body", "name"]),
        ]
        for action, place in actions:
            problem = socket.refused(await socket.say(**action), 422, "invalid-input")
            assert [error["loc"] for error in problem["errors"]] == [place]
        assert (await socket.say(action="cancel"))["type"] == "ack"

    async def test_one_that_floods_waits_for_its_answers(self, idle: Live) -> None:
        await idle.workflow(ECHO)
        run_id = await idle.start()
        socket, other = await open_socket(idle.api, run_id), await open_socket(idle.api, run_id)
        began = time.monotonic()
        for _ in range(26):
            await socket.ws.send_str("{}")
        for _ in range(20):
            socket.refused(await socket.answer(), 422, "invalid-input")
        assert (await other.say(action="nothing"))["type"] == "error"
        for _ in range(6):
            socket.refused(await socket.answer(), 422, "invalid-input")
        assert time.monotonic() - began > 0.45

    async def test_a_run_that_has_ended_meanwhile(self, lite: Live) -> None:
        await lite.workflow(ASK)
        lite.upstream.default = Reply(text="a b", hold_after=1)
        socket = await open_socket(lite.api, run_id := await lite.start())
        await socket.until("token")
        problem = socket.refused(
            await socket.say(action="approve", step_id="ask", decision="approve"), 404, "not-found"
        )
        assert "'ask'" in problem["detail"]
        lite.upstream.release()
        await lite.api.finished(run_id)
        async with asyncio.timeout(10):
            await socket.rest()
        assert socket.code == 1000
