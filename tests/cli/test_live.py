"""The view on a terminal: a pseudo-terminal, read as the bytes that the command writes."""

import asyncio
import getpass
import os
import pty
import re
import signal
import termios
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from tests.cli.support.command import Platform, Studio
from tests.support.scripted_upstream import Reply

WORKFLOW = """\
kind: workflow
name: poem
pattern: sequential
steps:
  - id: parts
    name: The parts
    sequential:
      steps:
        - {id: never, when: "${{ false }}", agent: poet}
        - {id: write, agent: poet, input: write, retry: {initial_interval: 10ms}}
---
kind: agent
name: poet
"""
_STYLES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.seen = ""
        self._changed = asyncio.Event()
        asyncio.get_running_loop().add_reader(fd, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # the other side is closed
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._fd)
        self.seen += data.decode(errors="replace")
        self._changed.set()

    @property
    def text(self) -> str:
        """What was written, without colours and movements: every frame, one after the other."""
        return _STYLES.sub("", self.seen).replace("\r", "")

    async def shows(self, text: str, *, after: int = 0) -> int:
        """Wait until it is written; returns where it ends."""
        while (found := self.text.find(text, after)) < 0:
            self._changed.clear()
            await self._changed.wait()
        return found + len(text)


@asynccontextmanager
async def _on_terminal(studio: Studio, *arguments: str) -> AsyncGenerator[tuple[Terminal, asyncio.subprocess.Process]]:
    ours, theirs = pty.openpty()
    try:
        termios.tcsetwinsize(theirs, (30, 100))
        process = await studio.start(*arguments, stdout=theirs)
        os.close(theirs)
        yield Terminal(ours), process
        await process.wait()
    finally:
        asyncio.get_running_loop().remove_reader(ours)
        os.close(ours)


class TestLiveView:
    async def test_tokens_are_there_before_the_step_ends(self, platform: Platform) -> None:
        platform.upstream.when("write", Reply(text="The sea is wide.\n\x1b[2Jend", hold_after=2))
        platform.studio.write("poem.yaml", WORKFLOW)
        async with _on_terminal(platform.studio, "run", "poem.yaml") as (terminal, process):
            place = await terminal.shows("▸ The parts")
            place = await terminal.shows("  » never               skipped", after=place)
            place = await terminal.shows("    │ The sea \n", after=place)
            await terminal.shows("Ctrl-C detaches", after=place)
            platform.upstream.release()
            place = await terminal.shows("  ✓ write", after=place)
            await terminal.shows("status    succeeded", after=place)
            assert await process.wait() == 0
        assert "\x1b[?25h" in terminal.seen, "the cursor is back"
        assert "\x1b[2Jend" not in terminal.seen, "a model's escape sequences stay out"
        assert "attempt" not in terminal.text

    async def test_a_new_attempt_drops_what_the_failed_one_wrote(self, platform: Platform) -> None:
        lost = Reply(tokens=["LOST ", "words"], hold_after=1, break_after=1)
        kept = Reply(tokens=["KEPT ", "words"], hold_after=1)
        platform.upstream.when("write", lost, kept)
        platform.studio.write("poem.yaml", WORKFLOW)
        async with _on_terminal(platform.studio, "run", "poem.yaml") as (terminal, process):
            await terminal.shows("│ LOST")
            platform.upstream.release()
            place = await terminal.shows("attempt 1 failed with upstream_error")
            await terminal.shows("│ KEPT", after=place)
            platform.upstream.release()
            assert await process.wait() == 0
        assert "LOST" not in terminal.text[place:]
        assert "2 attempts" in terminal.text

    async def test_ctrl_c_detaches(self, platform: Platform) -> None:
        platform.upstream.when("write", Reply(text="one two", hold_after=1))
        platform.studio.write("poem.yaml", WORKFLOW)
        async with _on_terminal(platform.studio, "run", "poem.yaml") as (terminal, process):
            await terminal.shows("│ one")
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 130
        assert "\x1b[?25h" in terminal.seen
        run = (await platform.api.get("/runs")).ok()["items"][0]
        assert run["status"] == "running"
        platform.upstream.release()
        assert (await platform.api.finished(run["id"]))["status"] == "succeeded"

    async def test_contact_is_lost_and_found(self, platform: Platform) -> None:
        platform.upstream.when("write", Reply(text="one two", hold_after=1))
        platform.studio.write("poem.yaml", WORKFLOW)
        async with _on_terminal(platform.studio, "run", "poem.yaml") as (terminal, process):
            await terminal.shows("│ one")
            platform.proxy.refuse()
            place = await terminal.shows("connection lost, reconnecting")
            platform.proxy.accept()
            platform.upstream.release()
            await terminal.shows("✓ write", after=place)
            assert await process.wait() == 0
        assert "one twoone" not in terminal.text


INNER = """\
kind: workflow
name: inner
pattern: sequential
steps:
  - {id: never, when: "${{ input == 0 }}", transform: 1}
  - {id: write, agent: {message: write}}
  - {id: ok, approval: {message: "Print\\x1b[2J it?"}}
"""
OUTER = """\
kind: workflow
name: outer
limits: {max_steps: 2}
pattern: sequential
steps:
  - id: twice
    loop:
      do:
        - {id: printing, workflow: inner, input: 1}
        - {id: hear, wait: {signal: go}}
      until: ${{ iteration == 1 }}
      max_iterations: 2
"""


class TestWaitsAndPauses:
    async def test_each_says_what_to_type(self, platform: Platform) -> None:
        platform.upstream.when("write", Reply(text="The sea"))
        platform.studio.write("outer.yaml", f"{INNER}---\n{OUTER}")
        async with _on_terminal(platform.studio, "run", "outer.yaml") as (terminal, process):
            place = await terminal.shows("▸ printing · round 1")
            place = await terminal.shows("    » never               skipped", after=place)
            place = await terminal.shows("    ✓ write", after=place)
            place = await terminal.shows("    ◦ ok                  waits for approval\n", after=place)
            place = await terminal.shows("      │ Print\ufffd[2J it?\n", after=place)
            await terminal.shows(" 'twice#0/printing/ok'\n", after=place)
            found = re.search(r"studio approve (run_\w+) 'twice#0/printing/ok'", terminal.text[place:])
            assert found is not None
            run_id = found[1]
            (await platform.studio("approve", run_id, "twice#0/printing/ok", "--reject", "--comment", "no")).ok()
            place = await terminal.shows("    ✗ ok", after=place)
            place = await terminal.shows(f"rejected by {getpass.getuser()}: no\n", after=place)
            place = await terminal.shows("  ◦ hear                waits for the signal go\n", after=place)
            place = await terminal.shows(f"    │ studio signal {run_id} go\n", after=place)
            (await platform.studio("signal", run_id, "go")).ok()
            place = await terminal.shows("‖ paused: max_steps 2 is reached\n", after=place)
            await terminal.shows(f"│ studio limits {run_id} --max-steps N\n", after=place)
            (await platform.studio("cancel", run_id)).ok()
            await terminal.shows("■ twice", after=place)
            assert await process.wait() == 1
        assert terminal.text.count("✓ write") == 1, "what ended is told once"
        assert max(int(count) for count in re.findall(r"([0-9]+) tokens", terminal.text)) == 12, "counted once"
