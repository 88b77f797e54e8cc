import getpass
import re
import signal
from typing import Any

import pytest

from tests.cli.support.command import Platform, Studio, line_with
from tests.support.scripted_upstream import Reply

ASK = "{id: ask, agent: {message: question}}"
LETTER = """\
kind: workflow
name: letter
pattern: sequential
steps:
  - id: rounds
    loop:
      do:
        - id: both
          parallel:
            branches:
              - {id: ok, approval: {message: "Send it?", allow_edit: true, timeout: 1h}, input: {text: hi}}
              - {id: note, transform: 1}
      max_iterations: 1
      until: ${{ true }}
"""
OK = "rounds#0/both/ok"


async def started(platform: Platform, text: str, status: str) -> str:
    """A run of the workflow, once it has the status; its id."""
    platform.studio.write("flow.yaml", text)
    run = (await platform.studio("run", "flow.yaml", "--no-follow", "--json")).ok().json
    await platform.api.until(f"/runs/{run['id']}", lambda found: found["status"] == status)
    return run["id"]


def one_step(step: str, **fields: Any) -> str:
    more = "".join(f"{name}: {value}\n" for name, value in fields.items())
    return f"kind: workflow\nname: flow\npattern: sequential\nsteps:\n  - {step}\n{more}"


class TestApprove:
    async def test_without_a_step_it_lists_what_waits(self, platform: Platform) -> None:
        run_id = await started(platform, LETTER, "waiting")
        done = (await platform.studio("approve", run_id)).ok()
        lines = done.out.splitlines()
        assert lines[0].startswith(f"{OK}  waits for approval until ")
        assert lines[1:] == [
            "  Send it?",
            "    text: hi",
            f"  studio approve {run_id} '{OK}' [--reject] [--edit JSON]",
        ]
        listed = (await platform.studio("approve", run_id, "--json")).ok().json
        assert [(one["step_id"], one["input"]) for one in listed] == [(OK, {"text": "hi"})]

    async def test_the_inbox_lists_what_waits_in_all_runs(self, platform: Platform) -> None:
        run_id = await started(platform, LETTER, "waiting")
        await platform.api.until("/approvals", lambda page: len(page["items"]) == 1)
        lines = (await platform.studio("approvals")).ok().out.splitlines()
        assert lines[0].startswith("letter since ")
        assert lines[-1] == f"  studio approve {run_id} '{OK}' [--reject] [--edit JSON]"
        assert (await platform.studio("approvals", "--escalated")).ok().out == "Nothing waits for a person.\n"

    async def test_the_decision_is_the_users(self, platform: Platform) -> None:
        run_id = await started(platform, LETTER, "waiting")
        shown = (await platform.studio("approve", run_id, "--json")).json[0]["hash"]
        decision = ("--edit", '{"text": "hello"}', "--comment", "nicer", "--hash", shown)
        done = (await platform.studio("approve", run_id, OK, *decision)).ok()
        assert done.out == f"{OK} was approved by {getpass.getuser()}: nicer.\n"
        output = (await platform.api.finished(run_id))["output"]["ok"]
        assert (output["decision"], output["value"], output["by"]) == ("approve", {"text": "hello"}, getpass.getuser())
        assert (await platform.studio("approve", run_id)).ok().out == "Nothing waits for a person.\n"

    async def test_a_late_decision_is_told_what_was_decided(self, platform: Platform) -> None:
        run_id = await started(platform, LETTER, "waiting")
        (await platform.studio("approve", run_id, OK, "--reject", "--json")).ok()
        again = (await platform.studio("approve", run_id, OK, "--reject")).ok()
        assert again.out == f"Already decided: {OK} was rejected by {getpass.getuser()}.\n"
        late = await platform.studio("approve", run_id, OK, "--json")
        assert (late.code, late.json["decision"], late.json["accepted"]) == (1, "reject", False)
        assert "too late" in late.err

    async def test_what_changed_since_it_was_shown_is_not_decided(self, platform: Platform) -> None:
        run_id = await started(platform, LETTER, "waiting")
        done = await platform.studio("approve", run_id, OK, "--hash", "0" * 64)
        assert done.code == 1
        assert "has changed" in done.err
        assert (await platform.studio("approve", run_id, "rounds")).code == 1

    @pytest.mark.parametrize(
        "arguments",
        [
            ("--reject",),
            ("ok", "--edit", "text"),
            ("ok", "--edit", "1", "--reject"),
            ("ok", "--comment", "x" * 10_001),
        ],
    )
    async def test_wrong_usage(self, platform: Platform, arguments: tuple[str, ...]) -> None:
        done = await platform.studio("approve", "run_1", *arguments)
        assert (done.code, done.out) == (2, ""), done


class TestResolve:
    PARKS = one_step("{id: ask, agent: {message: question}, retry: {max_attempts: 1}}", on_failure="pause")

    async def test_a_parked_step_says_what_to_type(self, platform: Platform) -> None:
        platform.upstream.default = Reply(status=503)
        run_id = await started(platform, self.PARKS, "paused")
        command = f"studio resolve {run_id} ask --action retry"
        shown = (await platform.studio("get", run_id)).ok().out
        assert "ask failed and waits for somebody to resolve it: upstream_error: " in shown
        assert f"\npaused until what failed is resolved\n  {command}\n" in shown
        again = (await platform.studio("resolve", run_id, "ask", "--action", "retry")).ok()
        assert again.out.startswith("ask is running, attempt 2.")
        await platform.api.until(f"/runs/{run_id}", lambda run: run["steps"][0]["status"] == "waiting")
        done = await platform.studio("resolve", run_id, "ask", "--action", "done", "--output", '{"a": 1}', "--json")
        assert done.ok().json["resolved_by"] == getpass.getuser()
        assert (await platform.api.finished(run_id))["output"] == {"a": 1}
        story = (await platform.studio("events", run_id)).ok().out
        assert "ask waits" not in story
        assert f"({command})" in story
        assert re.search(rf"ask succeeded in .*, as {getpass.getuser()} said\n", story)
        late = await platform.studio("resolve", run_id, "ask", "--action", "retry")
        assert (late.code, "has ended already" in late.err) == (1, True)

    @pytest.mark.parametrize("arguments", [("--action", "again"), ("--action", "skip", "--output", "1"), ()])
    async def test_wrong_usage(self, definitions: Studio, arguments: tuple[str, ...]) -> None:
        done = await definitions("resolve", "run_1", "ask", *arguments)
        assert (done.code, done.out) == (2, ""), done
        assert arguments[-2:-1] == () or arguments[-2] in done.err


class TestPauseAndResume:
    async def test_a_paused_run_says_what_lets_it_go_on(self, platform: Platform) -> None:
        platform.upstream.default = Reply(text="a", hold_after=0)
        steps = f"{ASK}\n  - {{id: after, transform: 1}}"
        run_id = await started(platform, one_step(steps), "running")
        await platform.upstream.wait_for_calls(1, "held")
        done = (await platform.studio("pause", run_id)).ok()
        assert done.out == f"{run_id} is paused. `studio resume {run_id}` continues it.\n"
        platform.upstream.release()
        shown = (await platform.studio("get", run_id)).ok().out
        assert f"\npaused on request\n  studio resume {run_id}\n" in shown
        assert (await platform.studio("resume", run_id, "--json")).ok().json["id"] == run_id
        assert (await platform.api.finished(run_id))["output"] == 1

    async def test_a_finished_run_cannot_be_paused(self, platform: Platform) -> None:
        run_id = (await _finished(platform))["id"]
        for command in ("pause", "resume"):
            done = await platform.studio(command, run_id)
            assert done.code == 1
            assert "has ended already" in done.err


async def _finished(platform: Platform) -> Any:
    platform.studio.write("flow.yaml", one_step("{id: a, transform: 1}"))
    return (await platform.studio("run", "flow.yaml", "--json")).ok().json


class TestLimits:
    async def test_raising_what_paused_the_run(self, platform: Platform) -> None:
        text = one_step(f"{ASK}\n  - {ASK.replace('ask', 'again')}", limits="{max_tokens: 1}")
        run_id = await started(platform, text, "paused")
        shown = (await platform.studio("get", run_id)).ok().out
        raising = f"  studio limits {run_id} --max-tokens N\n  studio resume {run_id}\n"
        assert f"\npaused: max_tokens 1 is reached\n{raising}" in shown
        again = (await platform.studio("resume", run_id)).ok()
        assert "is paused again" in again.out
        done = (await platform.studio("limits", run_id, "--max-tokens", "900", "--timeout", "none")).ok()
        told = f"has other limits: timeout none, max_tokens 900. It is paused; `studio resume {run_id}` continues it."
        assert done.out == f"{run_id} {told}\n"
        assert "continues" in (await platform.studio("resume", run_id)).ok().out
        assert (await platform.api.finished(run_id))["status"] == "succeeded"

    async def test_a_runs_limit_that_a_child_workflow_reached_is_raised_on_the_run(self, platform: Platform) -> None:
        inner = one_step(f"{ASK}\n  - {ASK.replace('ask', 'again')}").replace("name: flow", "name: inner")
        platform.studio.write("inner.yaml", inner)
        (await platform.studio("apply", "-f", "inner.yaml")).ok()
        run_id = await started(platform, one_step("{id: c, workflow: inner}", limits="{max_tokens: 1}"), "paused")
        shown = (await platform.studio("get", run_id)).ok().out
        raising = f"  studio limits {run_id} --max-tokens N\n  studio resume {run_id}\n"
        assert f"\npaused in c: max_tokens 1 is reached\n{raising}" in shown
        assert (await platform.studio("cancel", run_id)).ok()

    @pytest.mark.parametrize(
        "arguments",
        [
            (),
            ("--max-tokens", "0"),
            ("--max-steps", "many"),
            ("--timeout", "soon"),
            ("--on-exceeded", "stop"),
        ],
    )
    async def test_wrong_usage(self, platform: Platform, arguments: tuple[str, ...]) -> None:
        done = await platform.studio("limits", "run_1", *arguments)
        assert (done.code, done.out) == (2, ""), done
        assert (arguments or ("--max-tokens",))[0] in done.err


class TestSignal:
    @pytest.mark.parametrize(("given", "output"), [((), None), (('{"x": 1}',), {"x": 1}), (("@go.yaml",), {"y": 2})])
    async def test_its_payload_is_the_steps_output(
        self, platform: Platform, given: tuple[str, ...], output: object
    ) -> None:
        platform.studio.write("go.yaml", "y: 2\n")
        run_id = await started(platform, one_step("{id: hear, wait: {signal: go}}"), "waiting")
        done = (await platform.studio("signal", run_id, "go", *given)).ok()
        assert done.out.startswith(f"{run_id} was sent the signal go.")
        assert (await platform.api.finished(run_id))["output"] == output

    async def test_a_run_that_begins_with_a_wait_is_not_queued(self, platform: Platform) -> None:
        run_id = await started(platform, one_step("{id: hear, wait: {signal: go, timeout: 1h}}"), "waiting")
        await platform.api.until("/runs", lambda page: page["items"][0]["status"] == "waiting")
        shown = (await platform.studio("get", run_id)).ok().out
        assert re.search(rf"^hear waits for the signal go until .*\n  studio signal {run_id} go$", shown, re.MULTILINE)
        assert (await platform.studio("signal", run_id, "studio_pause")).code == 1


class TestFollowing:
    async def test_in_a_log_a_wait_says_what_to_type(self, platform: Platform) -> None:
        platform.studio.write("flow.yaml", LETTER)
        process = await platform.studio.start("run", "flow.yaml")
        lines = await line_with(process, "ok waits for approval")
        found = re.search(r"until .*: Send it\?  \(studio approve (run_\w+) '(.*)'\)$", lines[-1])
        assert found is not None, lines
        (await platform.studio("approve", found[1], found[2], "--comment", "fine")).ok()
        out, _ = await process.communicate()
        assert process.returncode == 0
        assert f"{OK} succeeded: approved by {getpass.getuser()}: fine\n" in out.decode()

    async def test_in_a_log_a_pause_says_what_to_type_once(self, platform: Platform) -> None:
        inner = one_step("{id: hear, wait: {signal: go}}").replace("name: flow", "name: inner")
        platform.studio.write("flow.yaml", f"{inner}---\n{one_step('{id: c, workflow: inner}')}")
        process = await platform.studio.start("run", "flow.yaml")
        lines = await line_with(process, "c/hear waits for the signal go  (studio signal")
        run_id = lines[-1].split()[-2]
        (await platform.studio("pause", run_id)).ok()
        lines += await line_with(process, f"run paused on request  (studio resume {run_id})")
        (await platform.studio("resume", run_id)).ok()
        (await platform.studio("signal", run_id, "go")).ok()
        out, _ = await process.communicate()
        lines += out.decode().splitlines()
        told = [line[9:] for line in lines if "paused" in line or "resumed" in line]
        assert told == [f"run paused on request  (studio resume {run_id})", "run resumed"]

    async def test_with_json_a_wait_is_told_on_standard_error(self, platform: Platform) -> None:
        platform.studio.write("flow.yaml", one_step("{id: hear, wait: {signal: go}}"))
        process = await platform.studio.start("run", "flow.yaml", "--json")
        assert process.stderr is not None
        line = (await process.stderr.readline()).decode()
        assert "hear waits for the signal go" in line
        (await platform.studio("signal", line.split()[-2], "go")).ok()
        out, err = await process.communicate()
        assert (process.returncode, err) == (0, b"")
        assert b'"succeeded"' in out

    async def test_who_detaches_from_a_paused_run_is_told_how_to_resume_it(self, platform: Platform) -> None:
        text = one_step(f"{ASK}\n  - {ASK.replace('ask', 'again')}", limits="{max_steps: 1}")
        platform.studio.write("flow.yaml", text)
        process = await platform.studio.start("run", "flow.yaml")
        lines = await line_with(process, "run paused: max_steps 1 is reached")
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
        assert process.returncode == 130
        assert f"studio resume {lines[-1].split()[-1].rstrip(')')}" in err.decode()
