"""`GET /export` gives back what was applied as it was written."""

from studio.contracts.base import JsonObject
from tests.api.conftest import Live

FILE = """\
# Who writes what.
kind: workflow
name: brief   # short
pattern: sequential

steps:
  # first of all
  - {id: echo, transform: "${{ input }}"}
---
# the agent
kind: agent
instructions: |
  Two sentences.

  No more.
name: writer
...
"""


async def apply(live: Live, text: str) -> list[str]:
    return [result["action"] for result in (await live.api.yaml("/apply", text)).ok()["results"]]


async def export(live: Live, kind: str) -> str:
    return (await live.api.get("/export", kind=kind)).body.decode()


class TestExport:
    async def test_comments_and_order_stay(self, lite: Live) -> None:
        assert await apply(lite, FILE) == ["created", "created"]
        first, _, second = FILE.partition("---\n")
        assert await export(lite, "workflow") == first
        assert await export(lite, "agent") == second.removesuffix("...\n")
        whole = (await lite.api.get("/export?kind=agent&kind=workflow")).body.decode()
        assert await apply(lite, whole) == ["unchanged", "unchanged"]

    async def test_new_comments_make_no_version(self, lite: Live) -> None:
        await apply(lite, FILE)
        assert await apply(lite, FILE.replace("# short", "# and sweet")) == ["unchanged", "unchanged"]
        assert "# and sweet" in await export(lite, "workflow")

    async def test_what_was_changed_otherwise_is_written_anew(self, lite: Live) -> None:
        await apply(lite, FILE)
        (await lite.api.patch("/workflows/brief", {"description": "changed"})).ok()
        exported = await export(lite, "workflow")
        assert ("description: changed" in exported, "#" in exported) == (True, False)
        assert await apply(lite, exported) == ["unchanged"]

    async def test_json_has_no_comments_to_keep(self, lite: Live) -> None:
        document: JsonObject = {"kind": "agent", "name": "writer", "instructions": "Write."}
        (await lite.api.post("/apply", [document])).ok()
        assert (await export(lite, "agent")).startswith("kind: agent\nname: writer\n")
