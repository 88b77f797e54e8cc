import re

from tests.cli.support.command import Platform
from tests.support.scripted_upstream import Reply

POEM = """\
kind: workflow
name: poem
pattern: sequential
steps:
  - {id: plan, agent: {message: "plan {{ input }}"}, input: "${{ input.topic }}"}
  - {id: write, agent: {message: "write {{ input }}"}, input: "${{ steps.plan.output }}"}
"""
WAITING = """\
kind: workflow
name: waiting
pattern: sequential
steps: [{id: hold, wait: {for: 1h}}]
"""
REFUSED = Reply(status=404, error={"error": {"message": "no such model", "type": "invalid_request_error"}})


async def failed(platform: Platform, *then: Reply) -> str:
    """A run whose second step was refused, and gets these replies later; its id."""
    platform.upstream.when("plan", Reply(text="the plan"))
    platform.upstream.when("write", REFUSED, *(then or [Reply(text="written")]))
    platform.studio.write("poem.yaml", POEM)
    done = await platform.studio("run", "poem.yaml", "topic=sea", "--json")
    assert (done.code, done.json["status"]) == (1, "failed")
    return done.json["id"]


def without_times(out: str) -> list[str]:
    lines = [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in out.splitlines()]
    return [re.sub(r"in [\d.]+m?s", "in TIME", line) for line in lines]


class TestRetry:
    async def test_what_happens_since_is_shown(self, platform: Platform) -> None:
        run_id = await failed(platform)
        done = (await platform.studio("retry", run_id)).ok()
        lines = without_times(done.out)
        assert lines[:6] == [
            f"poem v1  {run_id}",
            "run retried",
            "write started (agent)",
            "write | written",
            "write succeeded in TIME, 11 tokens, $0.000011",
            lines[5],
        ]
        assert lines[5].startswith("run succeeded, ")
        assert "status    succeeded" in lines
        assert (await platform.studio("retry", run_id)).code == 1
        assert re.search("^retried +1 time$", (await platform.studio("get", run_id)).out, re.MULTILINE)

    async def test_that_fails_again(self, platform: Platform) -> None:
        run_id = await failed(platform, REFUSED)
        done = await platform.studio("retry", run_id, "--json")
        assert (done.code, done.json["status"], done.json["retry_count"]) == (1, "failed", 1)

    async def test_plan(self, platform: Platform) -> None:
        run_id = await failed(platform)
        lines = (await platform.studio("retry", run_id, "--plan")).ok().out.splitlines()
        assert lines[0].split() == ["runs", "again", "kind", "status", "why"]
        assert lines[1].split()[:3] == ["write", "agent", "failed"]
        assert lines[2] == "1 step kept; what was not reached yet follows."
        plan = (await platform.studio("retry", run_id, "--plan", "--from", "plan", "--json")).ok().json
        assert ([step["step_id"] for step in plan["again"]], plan["kept"]) == (["plan", "write"], [])

    async def test_with_a_repaired_input(self, platform: Platform) -> None:
        run_id = await failed(platform)
        platform.studio.write("topic.json", '"lake"')
        given = ("--input", "plan=@topic.json", "--max-steps", "9")
        done = (await platform.studio("retry", run_id, *given, "--no-follow")).ok()
        assert done.out == f"{run_id} queued. Watch it with `studio events {run_id} -f`.\n"
        (await platform.studio("events", run_id, "-f")).ok()
        assert [call.text for call in platform.upstream.calls][2:] == ["plan lake", "write the plan"]

    async def test_wrong_usage(self, platform: Platform) -> None:
        run_id = await failed(platform)
        for wrong in (["--input", "plan"], ["--input", "plan=sea"], ["--input", "a=1", "--input", "a=2"]):
            done = await platform.studio("retry", run_id, *wrong)
            assert (done.code, "--input" in done.err) == (2, True), done
        done = await platform.studio("retry", run_id, "--from", "paln")
        assert (done.code, "from_step: There is no step 'paln'" in done.err) == (1, True), done


class TestReplay:
    async def test_is_a_new_run(self, platform: Platform) -> None:
        run_id = await failed(platform)
        done = (await platform.studio("replay", run_id, "--override", 'plan="no plan"', "--json")).ok()
        assert (done.json["replay_of"], done.json["output"]) == (run_id, "written")
        assert [call.text for call in platform.upstream.calls][2:] == ["write no plan"]
        done = (await platform.studio("replay", run_id, "--input", "topic=lake")).ok()
        assert "plan | the plan" in without_times(done.out)
        assert [call.text for call in platform.upstream.calls][3] == "plan lake"


class TestTerminate:
    async def test_now(self, platform: Platform) -> None:
        platform.studio.write(
            "wait.yaml", "kind: workflow\nname: w\npattern: sequential\nsteps: [{id: s, wait: {for: 1h}}]\n"
        )
        run = (await platform.studio("run", "wait.yaml", "--no-follow", "--json")).ok().json
        await platform.api.until(f"/runs/{run['id']}", lambda found: found["status"] == "waiting")
        done = (await platform.studio("terminate", run["id"])).ok()
        assert f"{run['id']} is terminated" in done.out
        shown = (await platform.studio("get", run["id"], "--json")).ok().json
        assert (shown["status"], "over the API" in shown["error"]["message"]) == ("terminated", True)
        assert (await platform.studio("terminate", run["id"])).code == 1
