"""A frozen worker comes back: what it still publishes of an attempt that was given up is not shown."""

import io

import pytest
from rich.console import Console

from cli.live import LiveView
from cli.plain import PlainView
from studio.contracts.base import utc_now
from studio.contracts.events import NewEvent, RunEvent, step_retrying

AT = utc_now()


def token(attempt: int, text: str) -> NewEvent:
    return NewEvent(ts=AT, step_id="s", attempt=attempt, type="token", data={"text": text})


EVENTS = [
    token(1, "first\n"),
    step_retrying(AT, "s", 3),
    step_retrying(AT, "s", 2),
    token(1, "late\n"),
    token(3, "third\n"),
]
RUN_EVENTS = [
    RunEvent(seq=f"{number}-0", run_id="run_1", **event.model_dump()) for number, event in enumerate(EVENTS, 1)
]


class TestViews:
    def test_lines(self, capsys: pytest.CaptureFixture[str]) -> None:
        view = PlainView()
        for event in RUN_EVENTS:
            view.take(event)
        view.close()
        first, retried, third = capsys.readouterr().out.splitlines()
        assert (first, third) == ("s | first", "s | third")
        assert "attempt 3" in retried

    async def test_a_terminal(self) -> None:
        screen = io.StringIO()
        console = Console(file=screen, force_terminal=True, width=100)
        async with LiveView(console) as view:
            for event in RUN_EVENTS:
                view.take(event)
        assert "attempt 3" in screen.getvalue()
        assert "attempt 2" not in screen.getvalue()
