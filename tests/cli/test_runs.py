import asyncio
import re
import signal
from asyncio.subprocess import Process
from typing import Any

from tests.cli.support.command import Platform, line_with
from tests.support.scripted_upstream import Reply

POET = "kind: agent\nname: poet\n"
POEM = """\
kind: workflow
name: poem
input_schema: {type: object, required: [topic], properties: {topic: {type: string}}}
pattern: sequential
steps:
  - {id: plan, agent: poet, input: "plan ${{ input.topic }}"}
  - {id: write, agent: poet, input: "write ${{ steps.plan.output }}", retry: {initial_interval: 10ms}}
output: {text: "${{ steps.write.output }}"}
"""


async def _define(platform: Platform, *replies: Reply) -> None:
    """`poem`, whose last step gets these replies."""
    platform.upstream.when("plan", Reply(text="the plan"))
    platform.upstream.when("write", *(replies or [Reply(text="The sea\nis wide.")]))
    platform.studio.write("poem.yaml", f"{POET}---\n{POEM}")
    (await platform.studio("apply", "-f", "poem.yaml")).ok()


def _without_times(out: str) -> list[str]:
    lines = [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in out.splitlines()]
    lines = [re.sub(r"at [\d-]+ [\d:]+", "at TIME", line) for line in lines]
    return [re.sub(r"in [\d.]+m?s", "in TIME", line) for line in lines]


async def _last_run(platform: Platform) -> dict[str, Any]:
    return (await platform.studio("runs", "--limit", "1", "--json")).ok().json["items"][0]


async def _interrupted(process: Process) -> tuple[int, str]:
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, err.decode()


class TestRun:
    async def test_in_a_log_each_event_is_a_line(self, platform: Platform) -> None:
        await _define(platform)
        done = (await platform.studio("run", "poem", "topic=sea", "--session", "s1", "--metadata", "ticket=7")).ok()
        run = await _last_run(platform)
        assert (run["session_id"], run["metadata"], run["input"]) == ("s1", {"ticket": "7"}, {"topic": "sea"})
        assert "\x1b" not in done.out
        duration = re.search(r"^duration  (.*)$", done.out, re.MULTILINE)
        assert duration is not None
        assert _without_times(done.out) == [
            f"poem v1  {run['id']}",
            "run started",
            "plan started (agent)",
            "plan | the plan",
            "plan succeeded in TIME, 12 tokens, $0.000012",
            "write started (agent)",
            "write | The sea",
            "write | is wide.",
            "write succeeded in TIME, 14 tokens, $0.000014",
            "run succeeded, 26 tokens, $0.000026",
            "",
            "output:",
            "text: |-",
            "  The sea",
            "  is wide.",
            "",
            f"run       {run['id']}",
            "status    succeeded",
            f"duration  {duration[1]}",
            "usage     2 model calls, 26 tokens (20 in, 6 out)",
            "cost      $0.000026",
            f"temporal  {run['temporal']['ui_url']}",
        ]

    async def test_json_is_the_finished_run_and_nothing_else(self, platform: Platform) -> None:
        await _define(platform)
        done = (await platform.studio("run", "poem", "--input", '{"topic": "sea"}', "--json")).ok()
        assert (done.json["status"], done.json["output"]) == ("succeeded", {"text": "The sea\nis wide."})
        assert done.err == ""

    async def test_a_file_is_applied_and_its_last_workflow_run(self, platform: Platform) -> None:
        first = POEM.replace("name: poem", "name: first")
        second = POEM.replace("name: poem", "name: second") + "project_id: press\n"
        platform.studio.write("all.yaml", f"{first}---\n{second}---\n{POET}---\n{POET}project_id: press\n")
        done = (await platform.studio("run", "all.yaml", "topic=sea")).ok()
        assert "4 created" in done.out
        run = await _last_run(platform)
        assert (run["workflow"]["name"], run["project_id"]) == ("second", "press")

    async def test_an_agent(self, platform: Platform) -> None:
        await _define(platform)
        done = (await platform.studio("run", "poem.yaml", "--agent", "--input", '"plan it"', "--json")).ok()
        assert (done.json["kind"], done.json["output"]) == ("agent", "the plan")
        platform.studio.write("poet.yaml", POET)
        done = (await platform.studio("run", "poet.yaml", "--input", "@-", "--json", given='"plan it"')).ok()
        assert done.json["kind"] == "agent"

    async def test_only_started(self, platform: Platform) -> None:
        await _define(platform, Reply(hold_after=0))
        done = (await platform.studio("run", "poem", "topic=sea", "--no-follow")).ok()
        run = await _last_run(platform)
        assert run["id"] in done.out
        await platform.upstream.wait_for_calls(1, "held")
        platform.upstream.release()
        assert (await platform.api.finished(run["id"]))["status"] == "succeeded"

    async def test_a_failed_run(self, platform: Platform) -> None:
        error = {"error": {"message": "no such model", "type": "invalid_request_error", "code": "model_not_found"}}
        await _define(platform, Reply(status=404, error=error))
        done = await platform.studio("run", "poem", "topic=sea")
        assert done.code == 1
        assert re.search(r"^error +invalid_request at write: .*no such model", done.out, re.MULTILINE), done.out
        assert (await platform.studio("run", "poem", "topic=sea", "--json")).json["status"] == "failed"

    async def test_refused(self, platform: Platform) -> None:
        await _define(platform)
        done = await platform.studio("run", "poem")
        assert (done.code, done.out) == (1, "")
        assert "invalid input" in done.err
        said = " ".join(done.err.split())
        assert 'input: null is not of type "object" (give an object with topic (required): --input JSON' in said
        done = await platform.studio("run", "nothing")
        assert (done.code, done.out) == (1, "")
        assert "There is no workflow and no agent 'nothing'" in done.err

    async def test_wrong_usage(self, platform: Platform) -> None:
        platform.studio.write("hello.yaml", "kind: prompt\nname: hello\ntemplate: Hello\n")
        wrong = (
            ["run", "poem", "--input", "sea"],
            ["run", "missing.yaml"],
            ["run", "poem", "topic"],
            ["run", "hello.yaml"],
            ["run", "poem", "--timeout", "soon"],
            ["runs", "--status", "done"],
        )
        for arguments in wrong:
            done = await platform.studio(*arguments)
            assert (done.code, done.out) == (2, ""), done

    async def test_what_a_failed_attempt_wrote_is_said_to_be_void(self, platform: Platform) -> None:
        broken = Reply(tokens=["half\n", "of it"], hold_after=1, break_after=1)
        await _define(platform, broken, Reply(text="all of it"))
        process = await platform.studio.start("run", "poem", "topic=sea")
        await line_with(process, "write | half")
        platform.upstream.release()
        out, _ = await process.communicate()
        assert process.returncode == 0
        assert _without_times(out.decode())[:3] == [
            (
                "write retrying: attempt 1 failed with upstream_error: The upstream 'scripted' stopped before "
                "the answer was complete; attempt 2 follows at TIME; discard what attempt 1 wrote above"
            ),
            "write | all of it",
            "write succeeded in TIME, 13 tokens, $0.000013",
        ]

    async def test_ctrl_c_leaves_the_run_alone(self, platform: Platform) -> None:
        await _define(platform, Reply(text="one\ntwo", hold_after=1))
        process = await platform.studio.start("run", "poem", "topic=sea")
        await line_with(process, "write started")
        await platform.upstream.wait_for_calls(1, "held")
        code, err = await _interrupted(process)
        run = await _last_run(platform)
        assert code == 130
        assert f"studio cancel {run['id']}" in err
        platform.upstream.release()
        done = (await platform.studio("events", run["id"], "-f")).ok()
        assert "status    succeeded" in done.out

    async def test_watching_has_a_time_limit(self, platform: Platform) -> None:
        await _define(platform, Reply(hold_after=0))
        done = await platform.studio("run", "poem", "topic=sea", "--timeout", "500ms")
        assert done.code == 1
        assert "The run continues" in done.err
        run = await _last_run(platform)
        assert run["status"] == "running"
        platform.upstream.release()
        assert (await platform.api.finished(run["id"]))["status"] == "succeeded"


class TestLostConnection:
    async def test_goes_on_where_it_was(self, platform: Platform) -> None:
        await _define(platform, Reply(text="one\ntwo\nthree\nfour", hold_after=2))
        process = await platform.studio.start("run", "poem", "topic=sea")
        lines = await line_with(process, "write | one")
        await platform.upstream.wait_for_calls(1, "held")
        before = platform.proxy.connections
        platform.proxy.refuse()
        lines += await line_with(process, "connection lost")
        platform.upstream.release()
        while platform.proxy.connections < before + 2:  # noqa: ASYNC110 - the command tries in its own process
            await asyncio.sleep(0.01)
        platform.proxy.accept()
        out, _ = await process.communicate()
        lines += out.decode().splitlines()
        assert process.returncode == 0
        told = [line for line in _without_times("\n".join(lines)) if " | " in line or "started" in line]
        assert told == [
            *("run started", "plan started (agent)", "plan | the plan", "write started (agent)"),
            *("write | one", "write | two", "write | three", "write | four"),
        ]
        assert "connected again" in lines

    async def test_the_run_ends_meanwhile(self, platform: Platform) -> None:
        await _define(platform, Reply(text="one\ntwo", hold_after=1))
        process = await platform.studio.start("run", "poem", "topic=sea", "--json")
        await platform.upstream.wait_for_calls(1, "held")
        run = (await platform.api.get("/runs")).ok()["items"][0]
        platform.proxy.refuse()
        platform.upstream.release()
        assert (await platform.api.finished(run["id"]))["status"] == "succeeded"
        platform.proxy.accept()
        out, err = await process.communicate()
        assert (process.returncode, err) == (0, b"")
        assert b'"The' not in out
        assert b"one\\ntwo" in out


class TestLookingAtRuns:
    async def test_runs_are_narrowed_and_paged(self, platform: Platform) -> None:
        await _define(platform)
        assert (await platform.studio("runs")).ok().out == ""
        first = (await platform.studio("run", "poem", "topic=sea", "--session", "a", "--json")).json
        second = (await platform.studio("run", "poem", "topic=sun", "--session", "b", "--json")).json
        done = (await platform.studio("runs", "--workflow", "poem", "--status", "succeeded", "--json")).ok()
        assert [run["id"] for run in done.json["items"]] == [second["id"], first["id"]]
        done = (await platform.studio("runs", "--session", "a")).ok()
        head, line = done.out.splitlines()
        assert head.split()[:3] == ["run", "name", "status"]
        assert line.split()[:4] == [first["id"], "poem", "v1", "succeeded"]
        done = (await platform.studio("runs", "--limit", "1")).ok()
        assert second["id"] in done.out
        assert "There are more" in done.err
        assert (await platform.studio("runs", "--status", "failed", "--json")).json["items"] == []

    async def test_get(self, platform: Platform) -> None:
        await _define(platform)
        run = (await platform.studio("run", "poem", "topic=sea", "--json")).json
        assert (await platform.studio("get", run["id"], "--json")).json == run
        done = (await platform.studio("get", run["id"])).ok()
        rows = [line.split() for line in done.out.splitlines() if line.startswith(("plan ", "write "))]
        assert [row[:4] for row in rows] == [
            ["plan", "agent", "succeeded", "1"],
            ["write", "agent", "succeeded", "1"],
        ]
        assert (await platform.studio("get", "run_nothing")).code == 1

    async def test_events(self, platform: Platform) -> None:
        await _define(platform)
        run = (await platform.studio("run", "poem", "topic=sea", "--json")).json
        listed = (await platform.studio("events", run["id"], "--json")).ok().json
        streamed = (await platform.studio("events", run["id"], "-f", "--json")).ok().out.splitlines()
        assert [event["type"] for event in listed][0::100] == ["run.started"]
        assert listed[-1]["type"] == "run.succeeded"
        assert len(streamed) == len(listed)
        done = (await platform.studio("events", run["id"])).ok()
        assert _without_times(done.out)[:3] == ["run started", "plan started (agent)", "plan | the plan"]
        assert (await platform.studio("events", "run_nothing", "-f")).code == 1

    async def test_cancel(self, platform: Platform) -> None:
        await _define(platform, Reply(hold_after=0))
        process = await platform.studio.start("run", "poem", "topic=sea")
        await line_with(process, "write started")
        await platform.upstream.wait_for_calls(1, "held")
        run = await _last_run(platform)
        (await platform.studio("cancel", run["id"])).ok()
        out, _ = await process.communicate()
        assert process.returncode == 1
        assert "status    cancelled" in out.decode()
        done = await platform.studio("cancel", run["id"])
        assert done.code == 1
        assert "has ended already" in done.err

    async def test_no_answer(self, platform: Platform) -> None:
        platform.proxy.refuse()
        commands = (["runs"], ["get", "run_1"], ["events", "run_1", "-f"], ["cancel", "run_1"], ["run", "poem"])
        for arguments in commands:
            done = await platform.studio(*arguments)
            assert done.code == 3, done
            assert platform.proxy.url in done.err

    async def test_something_else_answers(self, platform: Platform) -> None:
        done = await platform.studio("runs", url=f"{platform.api.url}/docs?x=")
        assert done.code == 3
        assert "is not the workflow engine" in done.err
