import re
from pathlib import Path

from tests.cli.testing.conftest import Offline

GUIDE = Path(__file__).parents[3] / "docs" / "testing-workflows.md"


class TestGuide:
    def test_its_example_gives_what_it_says(self, studio: Offline) -> None:
        text = GUIDE.read_text()
        for name, body in re.findall(r"```yaml\n# (\S+)\n(.*?)```", text, re.DOTALL):
            studio.write(name, body)
        (shown,) = re.findall(r"```console\n\$ studio test poem.yaml\n(.*?)```", text, re.DOTALL)
        assert studio("poem.yaml").out == shown
