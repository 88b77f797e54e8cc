import pytest

from tests.cli.support.command import Studio
from tests.support.ports import free_port

AGENT = "kind: agent\nname: writer\ninstructions: Write.\n"
WORKFLOW = """\
kind: workflow
name: brief
pattern: sequential
steps:
  - {id: write, agent: writer}
"""


class TestApply:
    async def test_files_and_folders_in_one_request(self, definitions: Studio) -> None:
        definitions.write("flows/deep/brief.yml", WORKFLOW)  # comes first, and needs the agent
        definitions.write("writer.yaml", f"# the writer\n---\n{AGENT}")
        definitions.write("flows/.hidden/x.yaml", "kind: nonsense")
        definitions.write("flows/notes.txt", "not a definition")
        done = (await definitions("apply", "-f", "flows", "-f", "writer.yaml", "-f", "writer.yaml")).ok()
        assert [line.split() for line in done.out.splitlines()] == [
            ["created", "workflow", "brief", "flows/deep/brief.yml"],
            ["created", "agent", "writer", "writer.yaml"],
            ["2", "created"],
        ]

    async def test_again_changes_nothing(self, definitions: Studio) -> None:
        definitions.write("all.yaml", f"{AGENT}---\n{WORKFLOW}")
        (await definitions("apply", "-f", "all.yaml")).ok()
        definitions.write("all.yaml", f"{AGENT}model: local/other\n---\n{WORKFLOW}")
        done = (await definitions("apply", "-f", "all.yaml", "--json")).ok()
        assert [result["action"] for result in done.json["results"]] == ["updated", "unchanged"]

    async def test_dry_run_stores_nothing(self, definitions: Studio) -> None:
        definitions.write("writer.yaml", AGENT)
        done = (await definitions("apply", "-f", "writer.yaml", "--dry-run")).ok()
        assert "nothing was stored" in done.out
        assert (await definitions("export", "--kind", "agent")).ok().out == ""

    async def test_errors_of_all_files_with_their_places(self, definitions: Studio) -> None:
        definitions.write("writer.yaml", AGENT)
        definitions.write(
            "brief.yaml", f"# two documents\n{WORKFLOW}---\nkind: workflow\nname: Bad\npattern: sequential\nsteps: []\n"
        )
        definitions.write("typo.yaml", WORKFLOW.replace("agent: writer", "agent: wirter").replace("brief", "typo"))
        done = await definitions("apply", "-f", "writer.yaml", "-f", "brief.yaml", "-f", "typo.yaml")
        assert done.code == 1
        places = [line.split(": ")[0] for line in done.err.splitlines() if ".yaml:" in line]
        assert sorted(places) == ["brief.yaml:11:1", "brief.yaml:9:1", "typo.yaml:5:17"]
        assert done.err.splitlines()[-1] == "3 errors"
        assert (await definitions("export", "--kind", "agent")).ok().out == "", "all or nothing"

    async def test_yaml_errors_of_all_files_at_once(self, definitions: Studio) -> None:
        definitions.write("one.yaml", "kind: agent\nname: [\n")
        definitions.write("two.yaml", "kind: agent\nkind: agent\n")
        done = await definitions("apply", "-f", ".", "--json")
        assert done.code == 1
        found = {(place["file"], place["line"], place["column"]) for place in done.json["errors"]}
        assert found == {("one.yaml", 3, 1), ("two.yaml", 2, 1)}

    async def test_a_document_without_kind_gets_one_answer(self, definitions: Studio) -> None:
        definitions.write("one.yaml", "name: w\npattern: sequential\nsteps: [{id: a, transform: 1}]\n")
        told = {
            (done.code, done.err)
            for command in (("validate", "one.yaml"), ("apply", "-f", "one.yaml"), ("run", "./one.yaml"))
            for done in [await definitions(*command)]
        }
        ((code, message),) = told
        assert code == 1
        assert "there is no `kind`" in message
        assert "write `kind: workflow`" in message

    async def test_hints_are_shown(self, definitions: Studio) -> None:
        definitions.write("one.yaml", "kind: agent\nname: {{ x }}\n")
        done = await definitions("apply", "-f", "one.yaml")
        assert done.code == 1
        assert "one.yaml:2:8: " in done.err
        assert "  hint: put a text that begins with { in quotes" in done.err

    async def test_nothing_there(self, definitions: Studio) -> None:
        definitions.write("empty.yaml", "# nothing\n")
        assert (await definitions("apply", "-f", "empty.yaml")).code == 1
        assert (await definitions("apply", "-f", "missing.yaml")).code == 2
        assert (await definitions("apply")).code == 2

    async def test_no_answer(self, definitions: Studio) -> None:
        definitions.write("writer.yaml", AGENT)
        nowhere = f"http://127.0.0.1:{free_port()}"
        done = await definitions("apply", "-f", "writer.yaml", url=nowhere)
        assert (done.code, done.out) == (3, "")
        assert nowhere in done.err
        assert "studio up" in done.err

    async def test_a_dependency_of_the_engine_is_away(self, definitions: Studio) -> None:
        definitions.write("hello.yaml", "kind: prompt\nname: hello\ntemplate: Hello\n")
        done = await definitions("apply", "-f", "hello.yaml")
        assert done.code == 3
        assert "prompt" in done.err
        assert "studio status" in done.err


class TestWarnings:
    ODD = WORKFLOW + "  - {id: never, when: false, transform: 1}\n"

    async def test_validate_prints_them_and_is_content(self, definitions: Studio) -> None:
        definitions.write("all.yaml", f"{AGENT}---\n{self.ODD}")
        done = (await definitions("validate", "all.yaml")).ok()
        assert done.out == "valid: 2 documents in 1 file\n"
        assert done.err.splitlines() == [
            "all.yaml:10:17: warning: the step 'never' never runs",
            "  hint: remove the step, or its `when`",
            "1 warning",
        ]
        (place,) = (await definitions("validate", "all.yaml", "--json")).ok().json["warnings"]
        assert (place["file"], place["line"], place["path"]) == ("all.yaml", 10, "/steps/1/when")

    async def test_apply_stores_and_prints_them(self, definitions: Studio) -> None:
        definitions.write("all.yaml", f"{AGENT}---\n{self.ODD}")
        done = (await definitions("apply", "-f", "all.yaml")).ok()
        assert done.out.splitlines()[-1] == "2 created"
        assert "all.yaml:10:17: warning: " in done.err
        results = (await definitions("apply", "-f", "all.yaml", "--json")).ok().json["results"]
        assert [[place["line"] for place in result["warnings"]] for result in results] == [[], [10]]

    async def test_a_misspelt_field_gets_its_hint(self, definitions: Studio) -> None:
        definitions.write("brief.yaml", WORKFLOW.replace("agent: writer", "agnt: writer"))
        done = await definitions("validate", "brief.yaml")
        assert (done.code, done.out) == (1, "")
        assert done.err.splitlines()[0].startswith("brief.yaml:5:17: exactly one of")
        assert done.err.splitlines()[1] == "  hint: did you mean 'agent'?"


class TestExport:
    async def test_apply_takes_it_back(self, definitions: Studio) -> None:
        definitions.write("all.yaml", f"{AGENT}---\n{WORKFLOW}")
        (await definitions("apply", "-f", "all.yaml")).ok()
        exported = (await definitions("export", "--kind", "agent", "--kind", "workflow")).ok().out
        definitions.write("again.yaml", exported)
        done = (await definitions("apply", "-f", "again.yaml")).ok()
        assert done.out.splitlines()[-1] == "2 unchanged"

    async def test_narrowed(self, definitions: Studio) -> None:
        other = AGENT.replace("writer", "editor") + "project_id: press\n"
        definitions.write("all.yaml", f"{AGENT}---\n{other}")
        (await definitions("apply", "-f", "all.yaml")).ok()
        done = (await definitions("export", "--kind", "agent", "--project", "press", "--json")).ok()
        assert [document["name"] for document in done.json] == ["editor"]
        done = (await definitions("export", "--kind", "agent", "--name", "writer", "--json")).ok()
        assert [document["name"] for document in done.json] == ["writer"]


class TestValidate:
    async def test_valid(self, definitions: Studio) -> None:
        definitions.write("flows/all.yaml", f"{AGENT}---\n{WORKFLOW}")
        done = (await definitions("validate", "flows")).ok()
        assert done.out == "valid: 2 documents in 1 file\n"
        done = (await definitions("validate", "flows", "--json")).ok()
        assert done.json["valid"] is True
        assert [node["id"] for node in done.json["graph"]["nodes"]] == ["write"]

    async def test_agents_of_another_file_count(self, definitions: Studio) -> None:
        definitions.write("brief.yaml", WORKFLOW)
        definitions.write("writer.yaml", AGENT)
        assert (await definitions("validate", "--online", "brief.yaml")).code == 1
        (await definitions("validate", "--online", "brief.yaml", "writer.yaml")).ok()

    @pytest.mark.parametrize(
        ("change", "place", "message"),
        [
            (("agent: writer", "agent: wirter"), "5:17", "'wirter'"),
            (("agent: writer", 'transform: "${{ steps.nope.output }}"'), "5:17", "nope"),
            (("pattern: sequential", "patern: sequential"), "3:1", "`pattern` is missing"),
            (("pattern: sequential", "pattern: [1"), "4:6", "do not fit together"),
        ],
    )
    async def test_errors(self, definitions: Studio, change: tuple[str, str], place: str, message: str) -> None:
        definitions.write("writer.yaml", AGENT)
        definitions.write("brief.yaml", WORKFLOW.replace(*change))
        done = await definitions("validate", "--online", "writer.yaml", "brief.yaml")
        assert done.code == 1
        line = next(line for line in done.err.splitlines() if line.startswith(f"brief.yaml:{place}: "))
        assert message in line
        assert (await definitions("validate", "--online", "brief.yaml", "--json")).json["valid"] is False


class TestGraph:
    async def test_of_several_workflows_the_last_is_drawn_as_it_is_run(self, definitions: Studio) -> None:
        second = WORKFLOW.replace("name: brief", "name: second").replace("id: write", "id: rewrite")
        definitions.write("both.yaml", f"{WORKFLOW}---\n{second}")
        drawn = (await definitions("graph", "both.yaml")).ok().out
        assert drawn == 'flowchart TD\n  n0(["rewrite"])\n'
        assert '"write"' in (await definitions("graph", "both.yaml", "--name", "brief")).ok().out
        assert (await definitions("graph", "both.yaml", "--name", "third")).code == 2
