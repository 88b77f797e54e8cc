"""What a case may send from outside: signals, decisions, a pause; and the workflows that steps run as children."""

from typing import ClassVar

from studio.contracts.base import JsonObject
from tests.cli.testing.conftest import Offline
from tests.cli.testing.test_cases import case, failures, passes

HEAD = """\
kind: workflow
name: it
pattern: sequential
"""
LISTEN = HEAD + "steps: [{id: w, wait: {signal: go, timeout: 1h}}]\n"
APPROVE = HEAD + "steps: [{id: ok, input: draft, approval: {message: Send it?, allow_edit: true}}]\n"
TWO = HEAD + "steps: [{id: a, agent: {message: one}}, {id: b, transform: 2}]\n"
CALLS = HEAD + "steps: [{id: c, workflow: inner, input: rivers}]\n"
INNER = """\
kind: workflow
name: inner
pattern: sequential
input_schema: {type: string}
steps:
  - {id: ask, agent: writer}
  - {id: ok, approval: {message: "Send ${{ prev.output }}?"}}
output: ${{ steps.ok.output.value }}
---
kind: agent
name: writer
message: Write about {{ input }}.
"""


class TestSignals:
    def test_one_that_comes_while_the_step_waits(self, studio: Offline) -> None:
        signals = [{"name": "go", "payload": {"n": 1}, "after": "30m"}]
        passes(studio, LISTEN, signals=signals, expect={"output": {"n": 1}})

    def test_one_that_comes_too_late(self, studio: Offline) -> None:
        signals = [{"name": "go", "after": "61m"}]
        passes(studio, LISTEN, signals=signals, expect={"error": {"type": "timeout", "step_id": "w"}})

    def test_one_that_came_before_is_kept(self, studio: Offline) -> None:
        workflow = HEAD + "steps: [{id: first, wait: {for: 1h}}, {id: w, wait: {signal: go}}]\n"
        passes(studio, workflow, signals=[{"name": "go", "payload": 1}], expect={"output": 1})

    def test_a_name_that_no_step_waits_for(self, studio: Offline) -> None:
        studio.write("it.yaml", LISTEN)
        studio.write("it.test.yaml", case(signals=[{"name": "og"}]))
        told = studio("it.yaml").err
        assert "no step waits for the signal 'og'" in told
        assert "they wait for go" in told

    def test_a_run_that_waits_for_ever_says_for_what(self, studio: Offline) -> None:
        (failure,) = failures(studio, LISTEN.replace(", timeout: 1h", ""))
        assert (failure["what"], failure["message"]) == (
            "run",
            "The run waits for what nothing will bring: w waits for the signal 'go'",
        )


class TestDecisions:
    def test_it_is_given_when_the_step_waits(self, studio: Offline) -> None:
        given = {"decision": "reject", "comment": "no", "after": "2h", "by": "ann"}
        events = [
            {"type": "step.waiting", "step_id": "ok", "data": {"for": "approval", "message": "Send it?"}},
            {"type": "step.succeeded", "step_id": "ok", "data": {"duration_ms": 7_200_000}},
        ]
        output = {"decision": "reject", "value": "draft", "edited": False, "comment": "no"}
        passes(
            studio,
            APPROVE,
            decisions={"ok": given},
            expect={"output": {**output, "by": "ann", "timed_out": False}, "events": events},
        )

    def test_an_edit(self, studio: Offline) -> None:
        decisions = {"*": {"decision": "approve", "edit": "better"}}
        workflow = APPROVE + "output: ${{ steps.ok.output.value }}\n"
        passes(studio, workflow, decisions=decisions, expect={"output": "better"})
        (failure,) = failures(studio, workflow.replace("allow_edit: true", "allow_edit: false"), decisions=decisions)
        assert failure["message"] == "The API would refuse '*': the approval ok does not allow an edit."

    def test_each_round_asks_anew(self, studio: Offline) -> None:
        do = "{id: ok, approval: {message: Enough?}}"
        loop = f"steps: [{{id: l, loop: {{do: [{do}], until: \"${{{{ last.decision == 'approve' }}}}\"}}}}]\n"
        decisions = {"l#*/ok": {"decision": "reject"}, "l#2/ok": {"decision": "approve"}}
        passes(studio, HEAD + loop, decisions=decisions, expect={"steps": {"l#2/ok": {"status": "succeeded"}}})

    def test_one_that_is_too_late_leaves_it_to_time(self, studio: Offline) -> None:
        workflow = APPROVE.replace("allow_edit: true", "timeout: 1h, on_timeout: approve")
        workflow += "output: ${{ steps.ok.output.decision }}\n"
        decisions = {"ok": {"decision": "reject", "after": "2h"}}
        passes(studio, workflow, decisions=decisions, expect={"output": "approve"})

    def test_one_is_about_the_attempt_in_which_it_was_asked_for(self, studio: Offline) -> None:
        steps = "[{id: ok, timeout: 1h, approval: {message: Send it?}}]"
        retry = "{max_attempts: 2, initial_interval: 1s}"
        workflow = HEAD + f"steps: [{{id: b, retry: {retry}, sequential: {{steps: {steps}}}}}]\n"
        decisions = {"b/ok": {"decision": "approve", "after": "61m"}}
        passes(studio, workflow, decisions=decisions, expect={"error": {"type": "timeout", "step_id": "b/ok"}})

    def test_one_that_nothing_waited_for(self, studio: Offline) -> None:
        workflow = APPROVE.replace("input: draft", "input: draft, when: '${{ false }}'")
        (failure,) = failures(studio, workflow, decisions={"ok": {"decision": "approve"}})
        assert failure["message"] == "'ok' decided nothing: no such approval waited"

    def test_a_near_miss_gets_a_hint(self, studio: Offline) -> None:
        studio.write("it.yaml", APPROVE)
        studio.write("it.test.yaml", case(decisions={"okk": {"decision": "approve"}}))
        told = studio("it.yaml").err
        assert "'okk' names no step that waits for a decision" in told
        assert "did you mean 'ok'?" in told

    def test_without_one_the_run_waits_for_ever(self, studio: Offline) -> None:
        (failure,) = failures(studio, APPROVE)
        assert failure["message"].endswith("ok waits for a decision")


class TestPauses:
    def test_no_step_starts_until_it_is_resumed(self, studio: Offline) -> None:
        replies = {"a": {"text": "1", "after": "10s"}}
        events = [{"type": "run.paused"}, {"type": "step.succeeded", "step_id": "a"}, {"type": "run.resumed"}]
        events += [{"type": "step.started", "step_id": "b"}]
        expect = {"output": 2, "events": events}
        passes(studio, TWO, replies=replies, pause_after="5s", resume_after="1h", expect=expect)

    def test_one_that_is_not_resumed_waits_for_ever(self, studio: Offline) -> None:
        (failure,) = failures(studio, TWO, replies={"a": {"text": "1", "after": "10s"}}, pause_after="5s")
        assert failure["message"].endswith("the run is paused, and holds back b")

    def test_a_limit_that_pauses_says_which(self, studio: Offline) -> None:
        (failure,) = failures(studio, TWO + "limits: {max_steps: 1}\n", replies={"a": "1"})
        assert failure["message"].endswith(
            "the run is paused, since a limit is reached: max_steps, 1, and holds back b"
        )


class TestChildWorkflows:
    def test_one_in_another_file_with_what_it_names(self, studio: Offline) -> None:
        studio.write("inner.yaml", INNER)
        studio.write("it.yaml", CALLS)
        decisions = {"c/ok": {"decision": "approve"}}
        expect = {"output": "They bend.", "path": ["c", "c/ask", "c/ok"]}
        studio.write("it.test.yaml", case(replies={"c/ask": "They bend."}, decisions=decisions, expect=expect))
        finished = studio(".")
        assert finished.code == 0, finished.out + finished.err

    def test_one_in_the_same_file(self, studio: Offline) -> None:
        replies = {"c/ask": "They bend."}
        (failure,) = failures(studio, CALLS + "---\n" + INNER, workflow="it", replies=replies)
        assert failure["message"].endswith("c/ok waits for a decision")

    def test_one_that_runs_itself(self, studio: Offline) -> None:
        down = """\
          - {id: ask, agent: {message: go}}
          - {id: c, workflow: it, input: "${{ input - 1 }}", when: "${{ input > 0 }}"}
        """
        replies = {"ask": "top", "c/ask": "middle", "c/c/ask": "bottom"}
        passes(studio, HEAD + "steps:\n" + down, input=2, replies=replies, expect={"usage": {"llm_calls": 3}})

    def test_one_that_is_in_no_file(self, studio: Offline) -> None:
        studio.write("it.yaml", CALLS)
        studio.write("it.test.yaml", case())
        assert "no file holds the workflow 'inner'" in studio("it.yaml").err

    def test_a_signal_reaches_the_step_inside(self, studio: Offline) -> None:
        inner = "kind: workflow\nname: inner\npattern: sequential\nsteps: [{id: w, wait: {signal: go}}]\n"
        signals = [{"name": "go", "payload": "now", "after": "1m"}]
        passes(studio, CALLS + "---\n" + inner, workflow="it", signals=signals, expect={"output": "now"})


class TestParkedSteps:
    PARKS = HEAD + "on_failure: pause\nsteps: [{id: a, agent: {message: one}, retry: {max_attempts: 1}}]\n"
    NO: ClassVar[JsonObject] = {"error": {"type": "upstream_error"}}

    def test_what_somebody_says_one_after_the_other(self, studio: Offline) -> None:
        resolves = {"a": [{"action": "retry", "after": "1h"}, {"action": "done", "output": 5, "by": "ann"}]}
        expect = {"output": 5, "steps": {"a": {"status": "succeeded", "attempt": 2}}}
        passes(studio, self.PARKS, replies={"a": [self.NO, self.NO]}, resolves=resolves, expect=expect)

    def test_a_step_that_nobody_resolves(self, studio: Offline) -> None:
        (failure,) = failures(studio, self.PARKS, replies={"a": self.NO})
        error = "upstream_error: A failure that the test injects."
        waits = f"a failed ({error}) and waits to be resolved"
        assert failure["message"] == f"The run waits for what nothing will bring: {waits}"

    def test_an_output_that_the_api_would_refuse(self, studio: Offline) -> None:
        workflow = self.PARKS.replace("retry:", "output_schema: {type: object}, retry:")
        (failure,) = failures(studio, workflow, replies={"a": self.NO}, resolves={"a": {"action": "done", "output": 1}})
        assert 'The output of a: 1 is not of type "object"' in failure["message"]

    def test_what_resolved_nothing(self, studio: Offline) -> None:
        (failure,) = failures(studio, self.PARKS, replies={"a": "x"}, resolves={"a": {"action": "skip"}})
        assert "'a' resolved nothing more" in failure["message"]
