"""A render's time is its own computing: neighbours that hold the interpreter do not make a template slow.

Held against the thread's CPU clock, which the operating system keeps.
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from studio.errors import InvalidInput
from studio.templates import render_budget, render_text

LOOPS = "{%% for i in range(%d) %%}{{ i }}{%% endfor %%}"


def rounds_of(seconds: float) -> int:
    """How many rounds of the loop take so long here."""
    started = time.thread_time()
    render_text(LOOPS % 2000, {}, render_budget(60))
    return min(99_000, int(2000 * seconds / (time.thread_time() - started)))


class TestSlowRenders:
    def test_side_by_side_all_come_to_an_end(self):
        template = LOOPS % rounds_of(0.1)
        ready = threading.Barrier(6)

        def render(_: int) -> int:
            ready.wait()
            return len(render_text(template, {}))

        with ThreadPoolExecutor(6) as pool:
            lengths = list(pool.map(render, range(6)))
        assert len(set(lengths)) == 1

    def test_one_without_end_is_stopped_by_what_it_used(self):
        started = time.thread_time()
        with pytest.raises(InvalidInput, match="250 ms of computing"):
            render_text("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", {})
        assert 0.2 < time.thread_time() - started < 0.6
