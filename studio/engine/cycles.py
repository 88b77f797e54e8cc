"""Which nodes of a graph are in cycles with each other."""

from collections.abc import Iterator, Mapping, Sequence


def strongly_connected(into: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """The graph's strongly connected components, each before those that it leads to; nodes in the order of `into`.

    `into` gives of each node where its edges come from. Tarjan's algorithm (SIAM J. Comput. 1:2, 1972) backwards over
    the edges and without recursion.
    """
    order = {node: number for number, node in enumerate(into)}
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    found: list[list[str]] = []
    stack: list[str] = []
    on_stack: set[str] = set()
    for root in into:
        if root in index:
            continue
        path: list[tuple[str, Iterator[str]]] = []
        _enter(root, index, low, stack, on_stack)
        path.append((root, iter(into[root])))
        while path:
            node, sources = path[-1]
            for source in sources:
                if source not in index:
                    _enter(source, index, low, stack, on_stack)
                    path.append((source, iter(into[source])))
                    break
                if source in on_stack:
                    low[node] = min(low[node], index[source])
            else:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[node])
                if low[node] == index[node]:
                    members: list[str] = []
                    while node in on_stack:
                        members.append(stack.pop())
                        on_stack.remove(members[-1])
                    found.append(sorted(members, key=order.__getitem__))
    return found


def _enter(node: str, index: dict[str, int], low: dict[str, int], stack: list[str], on_stack: set[str]) -> None:
    index[node] = low[node] = len(index)
    stack.append(node)
    on_stack.add(node)
