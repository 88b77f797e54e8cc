from decimal import Decimal

import pytest

from cli.output import cost_text, duration_text, safe


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        *((0, "0ms"), (840, "840ms"), (1000, "1.0s"), (59_949, "59.9s"), (59_960, "1m00s"), (124_000, "2m04s")),
        *((3_600_000, "1h00m"), (3_725_000, "1h02m")),
    ],
)
def test_duration_text(milliseconds: float, text: str) -> None:
    assert duration_text(milliseconds) == text


@pytest.mark.parametrize(
    ("cost", "text"),
    [
        *((None, "unpriced"), ("0", "$0"), ("0.000012", "$0.000012"), ("0.00100", "$0.001"), ("0.5", "$0.5000")),
        *(("0.0000001", "<$0.000001"), ("12", "$12.0000")),
    ],
)
def test_cost_text(cost: str | None, text: str) -> None:
    assert cost_text(None if cost is None else Decimal(cost)) == text


class TestSafe:
    def test_a_model_cannot_steer_the_terminal(self) -> None:
        assert "\x1b" not in safe("\x1b[2J\x1b]0;title\x07\x9b31m\u202e")

    def test_text_stays_text(self) -> None:
        assert safe("Zeile 1\r\n\tZeile 2 🌊 日本") == "Zeile 1\n\tZeile 2 🌊 日本"
