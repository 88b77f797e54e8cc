import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.stack import StudioCommand


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[StudioCommand]:
    """The command on a data folder of its own; what it left running is stopped at the end."""
    command = StudioCommand(tmp_path / "data")
    yield command
    if command.data.is_dir():
        command.down()


@pytest.fixture(autouse=True)
def own_mask() -> Iterator[None]:
    """`studio up`, called in this process, changes how files are made."""
    before = os.umask(0o022)
    yield
    os.umask(before)
