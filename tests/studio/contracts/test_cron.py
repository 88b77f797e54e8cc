import pytest

from studio.contracts.cron import check_cron


class TestCheckCron:
    @pytest.mark.parametrize(
        "text",
        [
            "0 9 * * MON-FRI",
            "*/15 0,12 1-7/2 jan,DEC 0",
            "5/10 * * * sun-tue",
            "59 23 31 12 7",
            "@hourly",
            "@midnight",
        ],
    )
    def test_what_temporal_takes(self, text: str) -> None:
        assert check_cron(text) == text

    def test_spaces(self) -> None:
        assert check_cron("0  9 *\t* *") == "0 9 * * *"

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("", "five fields"),
            ("0 9 * *", "not 4"),
            ("0 0 9 * * * 2030", "not 7"),
            ("60 9 * * *", "the minute is 0 to 59, not 60"),
            ("0 24 * * *", "the hour is 0 to 23"),
            ("0 9 0 * *", "day of the month is 1 to 31"),
            ("0 9 * 13 *", "month is 1 to 12"),
            ("0 9 * * 8", "day of the week is 0 to 7"),
            ("0 9 * * MONDAY", "'monday' is no day of the week: write a number, or SUN"),
            ("0 9 L * *", "'l' is no day of the month"),
            ("0 9 ? * MON", "'?' is no day of the month"),
            ("0 9 * * MON#2", "'MON#2' is no day of the week"),
            ("0 9 * * FRI-MON", "ends before it begins"),
            ("*/0 * * * *", "the step"),
            ("*-5 * * * *", "'*-5' is no minute"),
            ("1,, * * * *", "'' is no minute"),
            ("@often", "'@often' is none of @yearly"),
            ("@every 5m", "is none of"),
        ],
    )
    def test_what_it_does_not(self, text: str, says: str) -> None:
        with pytest.raises(ValueError, match=says.replace("*", r"\*").replace("?", r"\?")):
            check_cron(text)
