"""`studio test` as it is called: which files, which exit codes, what it prints. Without network or settings."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from cli.files import read_sources
from tests.cli.testing.conftest import Offline

EXAMPLES = Path(__file__).parents[3] / "examples"
POEM = """\
kind: workflow
name: poem
pattern: sequential
steps:
  - {id: write, agent: {message: "Write about {{ topic }}."}, input: {topic: "${{ input.topic }}"}}
  - {id: shout, transform: "${{ steps.write.output }}!"}
"""
PASSES = """\
name: shouts
input: {topic: the sea}
replies: {write: The sea}
expect: {output: The sea!}
"""


class TestExamples:
    @pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.test.yaml")), ids=lambda path: path.name)
    def test_each_passes(self, studio: Offline, path: Path) -> None:
        done = studio(str(path))
        assert done.code == 0, done.out + done.err


class TestPaths:
    def test_a_definition_a_test_file_or_a_folder(self, studio: Offline) -> None:
        studio.write("flows/poem.yaml", POEM)
        studio.write("flows/poem.test.yaml", PASSES)
        studio.write("flows/untested.yaml", POEM.replace("poem", "untested"))
        studio.write("flows/.hidden/poem.test.yaml", "no: case")
        for path in ("flows/poem.yaml", "flows/poem.test.yaml", "flows"):
            done = studio(path)
            assert done.code == 0, done.err
            assert done.out.splitlines() == ["flows/poem.test.yaml", "  ✓ shouts", "1 case: 1 passed"]

    def test_a_file_that_is_named_twice_is_tested_once(self, studio: Offline) -> None:
        studio.write("poem.yml", POEM)
        studio.write("poem.test.yml", PASSES)
        assert len(studio("poem.yml", "poem.test.yml", ".", "--json").json["cases"]) == 1

    def test_agents_and_prompts_may_be_in_other_files(self, studio: Offline) -> None:
        studio.write("poem.yaml", POEM.replace('{message: "Write about {{ topic }}."}', "poet"))
        studio.write("poem.test.yaml", PASSES)
        alone = studio("poem.yaml")
        assert alone.code == 1
        assert "poem.yaml:5:17: no file holds the agent 'poet'" in alone.err
        studio.write("agents/poet.yaml", "kind: agent\nname: poet\nprompt: {name: ode}\n")
        studio.write("agents/ode.yaml", "kind: prompt\nname: ode\ntemplate: On {{ topic }} and {{ rhyme }}\n")
        with_prompt = studio("poem.yaml", "agents")
        assert with_prompt.code == 1
        assert "prompt_error at write: The variable 'rhyme' is missing." in with_prompt.out
        studio.write("agents/ode.yaml", "kind: prompt\nname: ode\ntemplate: On {{ topic }}\n")
        assert studio("poem.yaml", "agents").code == 0

    def test_no_test_file_is_wrong_usage(self, studio: Offline) -> None:
        studio.write("poem.yaml", POEM)
        done = studio("poem.yaml")
        assert done.code == 2
        assert "NAME.test.yaml" in done.err
        assert studio("nowhere.yaml").code == 2
        assert studio().code == 2

    def test_a_test_file_without_a_definition(self, studio: Offline) -> None:
        studio.write("poem.test.yaml", PASSES)
        done = studio("poem.test.yaml")
        assert done.code == 1
        assert "poem.test.yaml: there is no poem.yaml beside it" in done.err

    def test_a_folder_of_definitions_leaves_test_files_alone(self, studio: Offline) -> None:
        studio.write("poem.yaml", POEM)
        studio.write("poem.test.yaml", PASSES)
        assert read_sources([studio.folder]).names == [str(studio.folder / "poem.yaml")]


class TestErrors:
    def test_a_definition_with_errors(self, studio: Offline) -> None:
        studio.write("poem.yaml", POEM.replace("steps.write.output", "steps.wirte.output"))
        studio.write("poem.test.yaml", PASSES)
        done = studio("poem.yaml")
        assert done.code == 1
        assert "poem.yaml:6:17: steps.wirte.output: there is no step 'wirte'" in done.err
        assert studio("poem.yaml", "--json").json["errors"][0]["line"] == 6

    @pytest.mark.parametrize(
        ("line", "place", "message"),
        [
            ("expct: {}", "5:1", "there is no field 'expct' here"),
            ("expect: {outpt: x}", "5:10", "there is no field 'outpt' here"),
            ("expect: {status: sucess}", "5:10", "must be 'queued'"),
            ("cancel_after: soon", "5:1", "not a duration"),
            ("replies: {wirte: x}", "5:11", "'wirte' names no step that asks a model"),
            ("replies: {shout: x}", "5:11", "'shout' names no step that asks a model"),
            ("replies: {write: {text: x, aftr: 1s}}", "5:28", "there is no field 'aftr' here"),
            ("replies: {write: [x, {text: x, error: {type: timeout}}]}", "5:22", "one of text, output and error"),
            ("replies: {write: {error: {type: nonsense}}}", "5:27", "must be 'timeout'"),
            ("replies: {write: []}", "5:11", "holds one at least"),
            ("workflow: ode", "5:1", "poem.yaml holds no workflow 'ode'"),
        ],
    )
    def test_what_is_wrong_in_a_test_file_has_its_place(
        self, studio: Offline, line: str, place: str, message: str
    ) -> None:
        studio.write("poem.yaml", POEM)
        kept = PASSES.splitlines()[:2]
        studio.write("poem.test.yaml", "\n".join([*kept, "metadata: {}", "session_id: s", line]) + "\n")
        done = studio("poem.yaml")
        assert done.code == 1
        assert done.err.startswith(f"poem.test.yaml:{place}: "), done.err
        assert message in done.err

    def test_two_cases_of_one_name(self, studio: Offline) -> None:
        studio.write("poem.yaml", POEM)
        studio.write("poem.test.yaml", f"{PASSES}---\n{PASSES}")
        assert "poem.test.yaml:6:1: the case 'shouts' is here twice" in studio("poem.yaml").err

    def test_a_file_of_several_workflows_wants_to_know_which(self, studio: Offline) -> None:
        studio.write("poem.yaml", f"{POEM}---\n{POEM.replace('name: poem', 'name: ode')}")
        studio.write("poem.test.yaml", PASSES)
        assert "hint: write workflow: one of poem, ode" in studio("poem.yaml").err
        studio.write("poem.test.yaml", f"workflow: ode\n{PASSES}")
        assert studio("poem.yaml", "--json").json["cases"][0]["workflow"] == "ode"


class TestOutput:
    def test_a_failure_says_what_was_expected_and_what_came(self, studio: Offline) -> None:
        studio.write("poem.yaml", POEM)
        studio.write("poem.test.yaml", f"{PASSES}---\n{PASSES.replace('shouts', 'whispers').replace('sea!', 'sea.')}")
        done = studio("poem.yaml")
        assert done.code == 1
        assert done.out.splitlines() == [
            "poem.test.yaml",
            "  ✓ shouts",
            "  ✗ whispers",
            "      output",
            "        expected  The sea.",
            "        came      The sea!",
            "2 cases: 1 passed, 1 failed",
        ]

    def test_longer_values_as_a_diff(self, studio: Offline) -> None:
        studio.write(
            "poem.yaml", POEM + "output: {a: 1, b: [x, '${{ steps.shout.output }}'], c: 3, d: 4, e: 5, f: 6}\n"
        )
        expected = "{a: 1, b: [x, y], c: 3, d: 4, e: 5, f: 6}"
        studio.write("poem.test.yaml", PASSES.replace("The sea!", expected))
        assert studio("poem.yaml").out.splitlines()[2:-1] == [
            "      output",
            "        - expected, + came",
            "         b:",
            "           - x",
            "        -  - y",
            "        +  - The sea!",
            "         c: 3",
            "         d: 4",
        ]

    def test_an_event_that_did_not_come_beside_those_that_did(self, studio: Offline) -> None:
        studio.write("poem.yaml", POEM)
        events = "events: [{type: step.retrying, step_id: write}]"
        studio.write("poem.test.yaml", PASSES.replace("output: The sea!", events))
        assert studio("poem.yaml").out.splitlines()[2:-1] == [
            "      events[0]: It did not come after those before it.",
            "        expected",
            "          type: step.retrying",
            "          step_id: write",
            "        came",
            "          - run.started",
            "          - step.started write",
            "          - step.succeeded write",
            "          - usage write",
            "          - step.started shout",
            "          - step.succeeded shout",
            "          - run.succeeded",
        ]

    def test_a_text_is_told_from_a_number(self, studio: Offline) -> None:
        studio.write("poem.yaml", POEM + "output: ${{ size(input.topic) }}\n")
        studio.write("poem.test.yaml", PASSES.replace("The sea!", '"7"'))
        assert studio("poem.yaml").out.splitlines()[3:-1] == ['        expected  "7"', "        came      7"]

    def test_the_duration_is_of_the_virtual_clock(self, studio: Offline) -> None:
        studio.write("poem.yaml", POEM + "  - {id: rest, wait: {for: 2d}}\n")
        studio.write("poem.test.yaml", PASSES.replace("The sea!", "null"))
        assert "  ✓ shouts  48h00m" in studio("poem.yaml").out
        assert studio("poem.yaml", "--json").json["cases"][0]["duration_ms"] == 2 * 24 * 3600 * 1000


class TestSpeed:
    def test_a_hundred_cases_in_under_ten_seconds(self, tmp_path: Path) -> None:
        (tmp_path / "poem.yaml").write_text(POEM)
        cases = [PASSES.replace("shouts", f"shouts {number}") for number in range(100)]
        (tmp_path / "poem.test.yaml").write_text("---\n".join(cases))
        command = [sys.executable, "-m", "cli.main", "test", str(tmp_path)]
        before = _processor_seconds()
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=EXAMPLES.parent)
        # It waits for nothing, so this is what it takes on a machine that does nothing else.
        assert _processor_seconds() - before < 10
        assert "100 cases: 100 passed" in done.stdout, done.stderr


def _processor_seconds() -> float:
    """Of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
