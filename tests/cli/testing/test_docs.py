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

    def test_its_case_with_what_comes_from_outside_passes(self, studio: Offline) -> None:
        (body,) = re.findall(r"## From outside\n\n```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL)
        approval = "{id: ok, input: '${{ prev.output }}', approval: {message: Send it?, allow_edit: true}}"
        steps = f"[{{id: w, wait: {{signal: letter.ready}}}}, {{id: check, sequential: {{steps: [{approval}]}}}}]"
        output = "${{ steps.check.output.value }}"
        workflow = f"kind: workflow\nname: letter\npattern: sequential\nsteps: {steps}\noutput: {output}\n"
        studio.write("letter.yaml", workflow)
        studio.write("letter.test.yaml", body)
        finished = studio("letter.yaml")
        assert "1 passed" in finished.ok().out
