"""A run on the real engine becomes a case that passes without it."""

from typing import Any

from studio.documents import load_documents
from tests.cli.support.command import Platform
from tests.support.scripted_upstream import Reply

POEM = """\
kind: workflow
name: poem
pattern: sequential
steps:
  - id: ideas
    parallel:
      for_each: ${{ input.topics }}
      on_branch_error: collect
      do: {id: idea, agent: {message: "an idea on {{ input }}"}, retry: {initial_interval: 10ms}}
  - {id: plan, agent: {message: plan}, output_schema: {type: object, required: [title]}}
  - {id: write, agent: {message: "write {{ title }}"}, input: "${{ steps.plan.output }}"}
"""


async def _ran(platform: Platform, *arguments: str) -> dict[str, Any]:
    platform.studio.write("poem.yaml", POEM)
    done = await platform.studio("run", "poem.yaml", "--json", "--session", "s1", *arguments)
    run: dict[str, Any] = done.json
    return run


def _script(platform: Platform, write: Reply) -> None:
    upstream = platform.upstream
    upstream.when("an idea on rivers", Reply(status=503), Reply(text="They bend."))
    upstream.when("an idea on war", Reply(status=400, error={"error": {"message": "not that"}}))
    upstream.when("plan", Reply(text='Sure: {"title": "Bends"}'))
    upstream.when("write Bends", write)


def _cases(platform: Platform) -> list[Any]:
    return [document.value for document in load_documents((platform.studio.folder / "poem.test.yaml").read_text())]


class TestRecord:
    async def test_a_run_that_succeeded(self, platform: Platform) -> None:
        _script(platform, Reply(text="The river\nbends."))
        run = await _ran(platform, 'topics=["rivers","war"]')
        assert run["status"] == "succeeded"
        done = await platform.studio("test", "poem.yaml", "--record", run["id"])
        assert done.code == 0, done.out + done.err
        (case,) = _cases(platform)
        assert (case["name"], case["session_id"], case["input"]) == (f"as in {run['id']}", "s1", run["input"])
        assert case["expect"] == {"status": "succeeded", "output": "The river\nbends."}
        assert {path: reply.get("text", reply.get("output")) for path, reply in case["replies"].items()} == {
            "ideas/idea[0]": "They bend.",
            "ideas/idea[1]": None,
            "plan": {"title": "Bends"},
            "write": "The river\nbends.",
        }
        assert case["replies"]["ideas/idea[1]"]["error"] == {"type": "invalid_request", "message": "not that"}
        assert case["replies"]["write"]["usage"]["prompt_tokens"] == 10
        assert case["replies"]["write"]["cost_usd"] == "0.000013"
        again = await platform.studio("test", "poem.yaml", "--record", run["id"])
        assert (again.code, len(_cases(platform))) == (1, 1)
        assert "already" in again.err

    async def test_one_that_failed_and_one_that_was_cancelled_come_behind_what_was_there(
        self, platform: Platform
    ) -> None:
        _script(platform, Reply(status=400, error={"error": {"message": "no verse"}}))
        before = "# mine\nname: mine\ninput: {topics: []}\nreplies: {plan: {title: x}, write: y}\n"
        platform.studio.write("poem.test.yaml", before)
        failed = await _ran(platform, "topics=[]")
        (await platform.studio("test", "poem.test.yaml", "--record", failed["id"])).ok()
        _script(platform, Reply(text="late", hold_after=0))
        held = await _ran(platform, "topics=[]", "--no-follow")
        await platform.upstream.wait_for_calls(1, "held")
        unfinished = await platform.studio("test", "poem.yaml", "--record", held["id"])
        assert unfinished.code == 1
        assert "has not ended" in unfinished.err
        (await platform.studio("cancel", held["id"])).ok()
        await platform.studio("events", held["id"], "-f", "--json")
        done = await platform.studio("test", "poem.yaml", "--record", held["id"], "--json")
        assert [case["status"] for case in done.ok().json["cases"]] == ["succeeded", "failed", "cancelled"]
        text = (platform.studio.folder / "poem.test.yaml").read_text()
        assert text.startswith(before)
        assert _cases(platform)[1]["expect"] == {
            "status": "failed",
            "error": {"type": "invalid_request", "step_id": "write"},
        }


class TestRefusals:
    async def test_what_cannot_be_recorded(self, platform: Platform) -> None:
        platform.studio.write("poem.yaml", POEM)
        platform.studio.write("ode.yaml", POEM.replace("name: poem", "name: ode"))
        assert (await platform.studio("test", "poem.yaml", "ode.yaml", "--record", "run_x")).code == 2
        assert (await platform.studio("test", ".", "--record", "run_x")).code == 2
        missing = await platform.studio("test", "poem.yaml", "--record", "run_x")
        assert (missing.code, "run_x" in missing.err) == (1, True)
        _script(platform, Reply(text="y"))
        run = await _ran(platform, "topics=[]")
        other = await platform.studio("test", "ode.yaml", "--record", run["id"])
        assert other.code == 1
        assert "'poem', which ode.yaml does not hold" in other.err
        assert not (platform.studio.folder / "ode.test.yaml").exists()
