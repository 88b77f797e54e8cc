from tests.cli.support.command import Platform

DOCUMENTS = """\
kind: workflow
name: echo
pattern: sequential
steps:
  - {id: echo, transform: "${{ input }}"}
---
kind: schedule
name: clock
workflow: echo
input: hi
cron: 0 9 * * MON-FRI
timezone: Europe/Berlin
"""


class TestSchedules:
    async def test_from_apply_to_a_run(self, platform: Platform) -> None:
        studio = platform.studio
        studio.write("all.yaml", DOCUMENTS)
        assert "created    schedule clock" in (await studio("apply", "-f", "all.yaml")).ok().out
        listed = (await studio("schedules", "list")).ok().out
        assert "clock  default  echo  0 9 * * MON-FRI Europe/Berlin  active" in listed
        assert "is paused" in (await studio("schedules", "pause", "clock", "--note", "down")).ok().out
        assert (await studio("schedules", "trigger", "clock", "--json")).ok().json["paused"] is True
        found = await platform.api.until("/schedules/clock", lambda one: len(one["recent"]) == 1)
        shown = (await studio("schedules", "show", "clock")).ok().out
        assert "paused (down)" in shown
        assert found["recent"][0]["run_id"] in shown
        assert "is resumed" in (await studio("schedules", "resume", "clock")).ok().out
        window = ("--from", "2026-03-02T09:00", "--to", "2026-03-03T09:00")
        (await studio("schedules", "backfill", "clock", *window)).ok()
        await platform.api.until("/schedules/clock", lambda one: len(one["recent"]) == 3)
        assert len((await studio("runs", "--schedule", "clock", "--json")).ok().json["items"]) == 3
        assert "cron" in (await studio("export", "--kind", "schedule")).ok().out
        refused = await studio("schedules", "show", "nope")
        assert (refused.code, "There is no schedule 'nope'" in refused.err) == (1, True)


class TestBatch:
    async def test_one_run_a_line(self, platform: Platform) -> None:
        studio = platform.studio
        studio.write("all.yaml", DOCUMENTS.partition("---")[0])
        (await studio("apply", "-f", "all.yaml")).ok()
        studio.write("inputs.jsonl", '{"a": 1}\n\n"two"\n3\n')
        done = (await studio("run", "echo", "--batch", "inputs.jsonl", "--json")).ok().json
        assert (done["total"], done["counts"]["succeeded"]) == (3, 3)
        runs = (await studio("runs", "--batch", done["id"], "--json")).ok().json["items"]
        assert [run["input"] for run in reversed(runs)] == [{"a": 1}, "two", 3]
        studio.write("wrong.jsonl", "1\n{a: 1}\n")
        wrong = await studio("run", "echo", "--batch", "wrong.jsonl")
        assert (wrong.code, "wrong.jsonl:2:2" in wrong.err) == (2, True)
