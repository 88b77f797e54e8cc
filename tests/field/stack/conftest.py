import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.stack import StudioCommand, studio_command


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[StudioCommand]:
    with studio_command(tmp_path) as command:
        yield command


@pytest.fixture(autouse=True)
def own_mask() -> Iterator[None]:
    """`studio up`, called in this process, changes how files are made."""
    before = os.umask(0o022)
    yield
    os.umask(before)
