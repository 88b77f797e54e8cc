"""What `studio init` writes. `studio validate` and `studio test` pass on it as it is."""

from collections.abc import Mapping
from pathlib import Path

import typer

from cli.output import print_text
from cli.remote import fail

FILES: Mapping[str, str] = {
    "writer.yaml": """\
# An agent: how a model is asked. Workflows use it by its name.
kind: agent
name: writer
description: Writes one short paragraph.
model: default
instructions: You write one short paragraph in plain English.
message: "Write about {{ topic }} for {{ readers }}."
params: {temperature: 0.7, max_tokens: 200}
""",
    "brief.yaml": """\
# A workflow: steps in order. `${{ … }}` is an expression (CEL); `{{ … }}` in an agent's message is its template.
kind: workflow
name: brief
description: Writes a paragraph and gives it a title.
pattern: sequential
input_schema:
  type: object
  required: [topic]
  properties:
    topic: {type: string, minLength: 1}
steps:
  - id: write
    agent: writer
    input: {topic: "${{ input.topic }}", readers: beginners}
  - id: title
    agent:
      instructions: You answer with a title of at most six words and nothing else.
      message: "Give this text a title: {{ text }}"
    input: {text: "${{ steps.write.output }}"}
output: {title: "${{ steps.title.output }}", text: "${{ steps.write.output }}"}
""",
    "brief.test.yaml": """\
# Cases for `studio test`: the replies stand in for the model, so that no stack and no model is needed.
name: writes a paragraph and a title
input: {topic: rivers}
replies:
  write: Rivers carry water from the hills to the sea.
  title: How rivers run
expect:
  output: {title: How rivers run, text: Rivers carry water from the hills to the sea.}
  path: [write, title]
---
name: fails when the model refuses the request
input: {topic: rivers}
replies:
  write: {error: {type: invalid_request, message: The model is not there.}}
expect:
  error: {type: invalid_request, step_id: write}
""",
    "README.md": """\
# A first project

| file | what |
| --- | --- |
| `writer.yaml` | an agent: model, instructions and the message's template |
| `brief.yaml` | a workflow of two steps that uses it |
| `brief.test.yaml` | cases for the workflow, with scripted replies |

```sh
studio validate .            # are the files right? Needs no stack
studio test .                # do the workflows do what the cases say? Needs no stack and no model
studio graph brief.yaml      # the workflow as a Mermaid picture

studio up --detach           # the stack; its data in .studio/
studio apply -f .            # store the definitions
studio run brief topic=rivers
studio runs
```

Change a file, then `studio apply -f .` again: each change is a new version, and runs keep the one they started with.
""",
    ".gitignore": ".studio/\n.env\n",
}


def write_project(folder: Path) -> None:
    """Raises `typer.Exit` when a file is there already; nothing is written then."""
    there = [name for name in FILES if (folder / name).exists()]
    if there:
        fail(f"{folder / there[0]} is there already; nothing was written.", "Name another folder: studio init DIR.")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
        print_text(f"wrote {folder / name}")
    where = "" if folder == Path() else f"cd {folder} && "
    typer.echo(f"Next: {where}studio validate . && studio test .")
