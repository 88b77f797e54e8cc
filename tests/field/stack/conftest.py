from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.stack import StudioCommand


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[StudioCommand]:
    """The command on a data folder of its own; what it left running is stopped at the end."""
    command = StudioCommand(tmp_path / "data")
    yield command
    command.down()
