"""What needs no running stack: a first project, validating, a dry run, tests beside broken files."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.support.command import Finished, Studio
from tests.support.ports import free_port

AGENT = "kind: agent\nname: writer\ninstructions: Write.\n"
BRIEF = "kind: workflow\nname: brief\npattern: sequential\nsteps:\n  - {id: write, agent: writer}\n"
CASE = "name: writes\nreplies: {write: text}\nexpect: {output: text}\n"


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    """In an empty folder, with nothing where the stack should be."""
    return Studio(tmp_path, f"http://127.0.0.1:{free_port()}")


class TestInit:
    async def test_what_it_writes_is_valid_and_its_cases_pass(self, studio: Studio) -> None:
        (await studio("init", "mine")).ok()
        assert (await studio("validate", "mine")).ok().err == ""
        tested = (await studio("test", "mine", "--json")).ok().json
        assert (tested["passed"], tested["failed"], tested["errors"], tested["skipped"]) == (2, 0, [], [])
        assert (studio.folder / "mine" / "README.md").exists()

    async def test_it_overwrites_nothing(self, studio: Studio) -> None:
        studio.write("brief.yaml", "mine")
        done = await studio("init")
        assert done.code == 1
        assert "brief.yaml is there already" in done.err
        assert [path.name for path in studio.folder.iterdir()] == ["brief.yaml"]


class TestVersion:
    async def test_it_is_printed(self, studio: Studio) -> None:
        assert (await studio("--version")).ok().out.startswith("studio 0.")


class TestValidate:
    async def test_valid(self, studio: Studio) -> None:
        studio.write("all.yaml", f"{AGENT}---\n{BRIEF}")
        done = (await studio("validate", ".")).ok()
        assert (done.out, done.err) == ("valid: 2 documents in 1 file\n", "")
        assert (await studio("validate", ".", "--json")).ok().json["graph"]["nodes"]

    @pytest.mark.parametrize(
        ("text", "place"),
        [
            (BRIEF.replace("steps", "stepps"), "4:1"),
            (BRIEF.replace("agent: writer", 'transform: "${{ steps.nope.output }}"'), "5:17"),
            (BRIEF.replace("kind: workflow\n", ""), "1:1"),
            ("kind: prompt\nname: p\ntemplate: '{{ x'\n", "1:1"),
            ("kind: schedule\nname: s\nworkflow: brief\ncron: 99 * * * *\n", "4:1"),
            (f"{BRIEF}input_schema: {{type: 7}}\n", "6:16"),
            (f"{BRIEF}---\n{BRIEF}", "8:1"),
        ],
    )
    async def test_invalid(self, studio: Studio, text: str, place: str) -> None:
        studio.write("one.yaml", text)
        for command in (["validate", "one.yaml"], ["apply", "-f", "one.yaml", "--dry-run"]):
            done = await studio(*command)
            assert done.code == 1
            assert any(line.startswith("one.yaml:") for line in done.err.splitlines()), done.err
            assert f"one.yaml:{place}: " in done.err, done.err

    async def test_a_name_that_is_in_no_file_is_a_warning(self, studio: Studio) -> None:
        studio.write("all.yaml", f"{AGENT}---\n{BRIEF.replace('agent: writer', 'agent: wirter')}")
        done = (await studio("validate", ".")).ok()
        assert "all.yaml:9:17: warning: none of the files holds the agent 'wirter'" in done.err
        assert "did you mean 'writer'?" in done.err

    async def test_online_needs_the_stack(self, studio: Studio) -> None:
        studio.write("all.yaml", AGENT)
        assert (await studio("validate", ".", "--online")).code == 3


class TestDryRun:
    async def test_it_says_what_it_does_not_know(self, studio: Studio) -> None:
        studio.write("all.yaml", f"{AGENT}---\n{BRIEF}")
        done = (await studio("apply", "-f", ".", "--dry-run")).ok()
        assert done.out == "valid: 2 documents in 1 file\n"
        assert "No stack answers" in done.err
        assert (await studio("apply", "-f", ".", "--dry-run", "--json")).ok().json["offline"] is True

    async def test_without_dry_run_it_needs_the_stack(self, studio: Studio) -> None:
        studio.write("all.yaml", AGENT)
        assert (await studio("apply", "-f", ".")).code == 3


class TestBrokenFiles:
    @pytest.mark.parametrize("text", ["services: {web: {image: nginx}}\n", "a: [\n", "- 1\n", "a: b: c\n", "\x00"])
    async def test_a_foreign_or_broken_file_is_skipped_and_named(self, studio: Studio, text: str) -> None:
        self._good(studio)
        studio.write("deep/compose.yaml", text)
        done = (await studio("test", ".")).ok()
        assert "1 case: 1 passed" in done.out
        assert "deep/compose.yaml" in done.err
        assert "skipped: " in done.err

    async def test_a_broken_definition_fails_its_own_cases_only(self, studio: Studio) -> None:
        self._good(studio)
        studio.write("other.yaml", "kind: workflow\nname: [\n")
        studio.write("other.test.yaml", CASE)
        self._one_error(await studio("test", "."), "other.yaml")

    async def test_so_does_a_broken_test_file(self, studio: Studio) -> None:
        self._good(studio)
        studio.write("other.yaml", BRIEF.replace("name: brief", "name: other"))
        studio.write("other.test.yaml", "name: [\n")
        self._one_error(await studio("test", "."), "other.test.yaml")

    async def test_and_an_agent_that_no_file_holds(self, studio: Studio) -> None:
        self._good(studio)
        studio.write(
            "other.yaml", BRIEF.replace("name: brief", "name: other").replace("agent: writer", "agent: nobody")
        )
        studio.write("other.test.yaml", CASE)
        self._one_error(await studio("test", "."), "other.yaml")

    async def test_a_broken_file_that_is_named_is_an_error(self, studio: Studio) -> None:
        self._good(studio)
        studio.write("broken.yaml", "a: [\n")
        self._one_error(await studio("test", "brief.yaml", "writer.yaml", "broken.yaml"), "broken.yaml")

    async def test_apply_names_every_broken_file_and_stores_nothing(self, studio: Studio) -> None:
        self._good(studio)
        studio.write("one.yaml", "a: [\n")
        studio.write("two.yaml", "a: b: c\n")
        done = await studio("apply", "-f", ".")
        assert done.code == 1
        assert {line.split(":")[0] for line in done.err.splitlines() if ".yaml:" in line} == {"one.yaml", "two.yaml"}

    @staticmethod
    def _good(studio: Studio) -> None:
        studio.write("writer.yaml", AGENT)
        studio.write("brief.yaml", BRIEF)
        studio.write("brief.test.yaml", CASE)

    @staticmethod
    def _one_error(done: Finished, file: str) -> None:
        assert done.code == 1
        assert "1 case: 1 passed" in done.out
        assert any(line.startswith(f"{file}:") for line in done.err.splitlines()), done.err


class TestHelp:
    def test_it_imports_none_of_the_heavy_libraries(self) -> None:
        """Each command imports what it needs when it runs, so that help and completion are quick."""
        heavy = "temporalio, sqlalchemy, aiohttp, clickhouse_connect, fastapi, jinja2"
        script = f"import sys, cli.main; print([name for name in '{heavy}'.split(', ') if name in sys.modules])"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout == "[]\n"
