"""`studio test --record` of a run that people and signals took part in gives a case that passes as it is."""

from typing import Any

from studio.documents import load_documents
from tests.cli.support.command import Platform
from tests.support.scripted_upstream import Reply

ORDER = """\
kind: workflow
name: order
pattern: sequential
steps:
  - {id: draft, agent: {message: draft}}
  - {id: check, approval: {message: "Send it?", allow_edit: true, timeout: 1h}, input: "${{ steps.draft.output }}"}
  - {id: paid, wait: {signal: paid, timeout: 1h}}
  - {id: again, wait: {signal: paid}}
output: {sent: "${{ steps.check.output.value }}", by: "${{ steps.check.output.by }}",
         sums: ["${{ steps.paid.output.sum }}", "${{ steps.again.output.sum }}"]}
"""
WAIT = "kind: workflow\nname: wait\npattern: sequential\nsteps: [{id: paid, wait: {signal: paid}}]\n"
PARKED = """\
kind: workflow
name: parked
pattern: sequential
on_failure: pause
steps:
  - {id: ask, agent: {message: question}}
  - {id: end, transform: "${{ 'done' }}"}
"""


async def _waits(platform: Platform, run_id: str, step: str) -> None:
    def waits(run: Any) -> bool:
        return any(one["id"] == step and one["status"] == "waiting" for one in run["steps"])

    await platform.api.until(f"/runs/{run_id}", waits)


async def _started(platform: Platform, name: str, text: str) -> str:
    platform.studio.write(name, text)
    return (await platform.studio("run", name, "--no-follow", "--json")).ok().json["id"]


async def _recorded(platform: Platform, name: str, run_id: str) -> Any:
    await platform.api.until(f"/runs/{run_id}", lambda run: run["ended_at"] is not None)
    done = await platform.studio("test", name, "--record", run_id)
    assert done.code == 0, done.out + done.err
    (case,) = load_documents((platform.studio.folder / name.replace(".", ".test.")).read_text())
    return case.value


class TestRecord:
    async def test_decisions_edits_and_signals(self, platform: Platform) -> None:
        platform.upstream.when("draft", Reply(text="Dear Ann"))
        run_id = await _started(platform, "order.yaml", ORDER)
        await _waits(platform, run_id, "check")
        (await platform.studio("approve", run_id, "check", "--edit", '"Dear Ann!"', "--comment", "friendlier")).ok()
        await _waits(platform, run_id, "paid")
        for number in (1, 2):
            (await platform.studio("signal", run_id, "paid", f'{{"sum": {number}}}')).ok()
        case = await _recorded(platform, "order.yaml", run_id)
        decision = case["decisions"]["check"]
        assert (decision["decision"], decision["edit"], decision["comment"]) == ("approve", "Dear Ann!", "friendlier")
        assert [(one["name"], one["payload"]) for one in case["signals"]] == [
            ("paid", {"sum": 1}),
            ("paid", {"sum": 2}),
        ]
        assert case["expect"]["output"]["sums"] == [1, 2]

    async def test_a_rejection(self, platform: Platform) -> None:
        platform.upstream.when("draft", Reply(text="Dear Ann"))
        run_id = await _started(platform, "order.yaml", ORDER.split("  - {id: paid", maxsplit=1)[0])
        await _waits(platform, run_id, "check")
        (await platform.studio("approve", run_id, "check", "--reject")).ok()
        case = await _recorded(platform, "order.yaml", run_id)
        assert case["decisions"]["check"]["decision"] == "reject"
        assert "edit" not in case["decisions"]["check"]

    async def test_a_failed_step_that_somebody_skipped(self, platform: Platform) -> None:
        platform.upstream.when("question", Reply(status=400, error={"error": {"message": "no"}}))
        run_id = await _started(platform, "parked.yaml", PARKED)
        await _waits(platform, run_id, "ask")
        (await platform.studio("resolve", run_id, "ask", "--action", "skip")).ok()
        case = await _recorded(platform, "parked.yaml", run_id)
        assert case["resolves"]["ask"]["action"] == "skip"


class TestSignals:
    async def test_a_name_that_no_step_waits_for_is_said(self, platform: Platform) -> None:
        run_id = await _started(platform, "wait.yaml", WAIT)
        await _waits(platform, run_id, "paid")
        wrong = await platform.studio("signal", run_id, "paidd")
        assert (wrong.code, "did you mean 'paid'?" in wrong.err) == (1, True)
        right = (await platform.studio("signal", run_id, "paid")).ok()
        assert right.err == ""
