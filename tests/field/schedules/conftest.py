from tests.api.schedules.conftest import timed

__all__ = ["timed"]
