"""`studio list`, `show` and `delete`, and `studio run` of an agent by its name."""

import pytest

from studio.documents import load_documents
from tests.cli.support.command import Platform, Studio
from tests.support.scripted_upstream import Reply

AGENT = "kind: agent\nname: writer\ndescription: Writes.\ninstructions: Write.\nmessage: hello\n"
BRIEF = "kind: workflow\nname: brief\npattern: sequential\nsteps:\n  - {id: write, agent: writer}\n"


class TestCatalog:
    async def test_list(self, definitions: Studio) -> None:
        definitions.write("all.yaml", f"{AGENT}---\n{BRIEF}")
        (await definitions("apply", "-f", "all.yaml")).ok()
        lines = (await definitions("list", "agent")).ok().out.splitlines()
        assert lines[0].split() == ["name", "project", "version", "updated", "description"]
        assert lines[1].split()[:3] == ["writer", "default", "1"]
        assert [one["name"] for one in (await definitions("list", "workflow", "--json")).ok().json["items"]] == [
            "brief"
        ]

    async def test_show_gives_what_apply_takes_back(self, definitions: Studio) -> None:
        definitions.write("brief.yaml", f"{AGENT}---\n{BRIEF}")
        (await definitions("apply", "-f", "brief.yaml")).ok()
        definitions.write("shown.yaml", (await definitions("show", "workflow", "brief")).ok().out)
        done = (await definitions("apply", "-f", "shown.yaml")).ok()
        assert done.out.split()[0] == "unchanged"

    async def test_export_gives_back_what_was_written(self, definitions: Studio) -> None:
        text = f"# what it is for\n{AGENT}# and why\n"
        definitions.write("writer.yaml", text)
        (await definitions("apply", "-f", "writer.yaml")).ok()
        assert (await definitions("export", "--kind", "agent")).ok().out == text

    async def test_show_an_older_version(self, definitions: Studio) -> None:
        for model in ("one", "two"):
            definitions.write("writer.yaml", f"{AGENT}model: local/{model}\n")
            (await definitions("apply", "-f", "writer.yaml")).ok()
        shown = (await definitions("show", "agent", "writer", "--version", "1")).ok().out
        (document,) = load_documents(shown)
        assert document.value["model"] == "local/one"  # type: ignore[index] - an object
        assert "version 1" in shown.splitlines()[0]
        assert (await definitions("show", "agent", "writer", "--version", "3")).code == 1

    async def test_delete(self, definitions: Studio) -> None:
        definitions.write("all.yaml", f"{AGENT}---\n{BRIEF}")
        (await definitions("apply", "-f", "all.yaml")).ok()
        refused = await definitions("delete", "agent", "writer")
        assert (refused.code, "brief" in refused.err) == (1, True)
        assert (await definitions("delete", "workflow", "brief")).ok().out == "deleted the workflow brief\n"
        (await definitions("delete", "agent", "writer")).ok()
        assert (await definitions("show", "agent", "writer")).code == 1

    @pytest.mark.parametrize("command", [["list", "agnt"], ["list"], ["show", "agent"], ["delete", "thing", "x"]])
    async def test_wrong_usage(self, definitions: Studio, command: list[str]) -> None:
        assert (await definitions(*command)).code == 2


class TestRunAnAgent:
    async def test_by_its_name(self, platform: Platform) -> None:
        platform.upstream.when("hello", Reply(text="Hi."))
        platform.studio.write("writer.yaml", AGENT)
        (await platform.studio("apply", "-f", "writer.yaml")).ok()
        run = (await platform.studio("run", "writer", "--json")).ok().json
        assert (run["kind"], run["output"]) == ("agent", "Hi.")
        nothing = await platform.studio("run", "nothing")
        assert (nothing.code, "no workflow and no agent 'nothing'" in nothing.err) == (1, True)
