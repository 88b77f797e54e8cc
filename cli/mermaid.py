"""A workflow's graph as a Mermaid flowchart (https://mermaid.js.org/syntax/flowchart.html)."""

from collections.abc import Iterator

from studio.contracts.base import Json
from studio.contracts.reports import Graph

_SHAPES = {
    "agent": ('(["', '"])'),
    "transform": ('[/"', '"/]'),
    "fail": ('{{"', '"}}'),
    "wait": ('(("', '"))'),
    "conditional": ('{"', '"}'),
}
_BOX = ('["', '"]')
_LABEL_CHARACTERS = 80


def mermaid(graph: Graph) -> str:
    """Blocks become subgraphs. One with edges to what it holds has a node of its own inside for them to begin at,
    since Mermaid draws no edge between a subgraph and its own nodes.
    """
    return "\n".join(["flowchart TD", *_Drawing(graph).lines()]) + "\n"


class _Drawing:
    def __init__(self, graph: Graph) -> None:
        self._nodes = {str(node["id"]): node for node in graph.nodes}
        self._edges = graph.edges
        self._numbers = {path: number for number, path in enumerate(self._nodes)}
        self._held: dict[str | None, list[str]] = {}
        for path, node in self._nodes.items():
            self._held.setdefault(node.get("block"), []).append(path)
        ends = [(str(edge["from"]), str(edge["to"])) for edge in graph.edges]
        self._heads = {
            one for start, end in ends for one, other in ((start, end), (end, start)) if self._in(other, one)
        }
        """Blocks with an edge to or from what they hold."""

    def lines(self) -> Iterator[str]:
        yield from self._group(None, "  ")
        for edge in self._edges:
            start, end = str(edge["from"]), str(edge["to"])
            label = f'|"{_text(edge["label"])}"|' if edge.get("label") else ""
            yield f"  {self._end(start, end)} -->{label} {self._end(end, start)}"

    def _group(self, block: str | None, margin: str) -> Iterator[str]:
        for path in self._held.get(block, []):
            if path not in self._held:
                yield margin + self._shape(path)
                continue
            yield f'{margin}subgraph b{self._numbers[path]}["{_text(self._nodes[path]["label"])}"]'
            if path in self._heads:
                yield f"{margin}  {self._shape(path)}"
            yield from self._group(path, margin + "  ")
            yield f"{margin}end"

    def _shape(self, path: str) -> str:
        node = self._nodes[path]
        before, after = _SHAPES.get(str(node["kind"]), _BOX)
        return f"n{self._numbers[path]}{before}{_text(node['label'])}{after}"

    def _end(self, path: str, other: str) -> str:
        """What an edge between the two touches at `path`."""
        is_block = path in self._held and not self._in(other, path)
        return f"{'b' if is_block else 'n'}{self._numbers[path]}"

    def _in(self, path: str, block: str) -> bool:
        around = self._nodes[path].get("block")
        while around is not None and around != block:
            around = self._nodes[str(around)].get("block")
        return around is not None


def _text(label: Json) -> str:
    """On one line, cut, without what Mermaid would read as syntax (its own entity codes are `#NAME;`)."""
    text = " ".join(str(label).split())
    text = text if len(text) <= _LABEL_CHARACTERS else text[: _LABEL_CHARACTERS - 1] + "…"
    for character, code in (("#", "#35;"), ('"', "#quot;"), ("<", "#lt;"), (">", "#gt;"), ("`", "#96;")):
        text = text.replace(character, code)
    return text
