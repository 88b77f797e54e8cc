"""Where the references of a schema lead: only inside of it, and to JSON Schema's own schema. Nothing is fetched."""

from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote, urldefrag, urljoin

from studio.contracts.base import Json, JsonObject
from studio.schemas.kinds import is_array, is_object

DIALECT = "https://json-schema.org/draft/2020-12/schema"
METASCHEMA: Final[JsonObject] = {"$ref": DIALECT}
"""Stands for the schema of schemas."""
LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
MAPS = frozenset({"$defs", "definitions", "properties", "patternProperties", "dependentSchemas"})
SINGLE = frozenset({
    "additionalProperties", "contains", "contentSchema", "else", "if", "items", "not", "propertyNames", "then",
    "unevaluatedItems", "unevaluatedProperties",
})  # fmt: skip
REFERENCES = ("$ref", "$dynamicRef")
Place = tuple[str | int, ...]


class LeadsNowhere(Exception):
    """A reference to what the schema does not hold."""

    def __init__(self, reference: str) -> None:
        super().__init__(reference)
        self.reference = reference


def children(schema: JsonObject) -> Iterator[tuple[Place, Json]]:
    """The schemas directly inside of one, each with its place."""
    for keyword, held in schema.items():
        if keyword in SINGLE:
            yield (keyword,), held
        elif keyword in LISTS and is_array(held):
            for index, inner in enumerate(held):
                yield (keyword, index), inner
        elif keyword in MAPS and is_object(held):
            for name, inner in held.items():
                yield (keyword, name), inner


def _joined(base: str, reference: str) -> str:
    try:
        return urljoin(base, reference)
    except ValueError:  # no address at all
        return reference


class References:
    """Resolves the references of one document."""

    def __init__(self, root: JsonObject) -> None:
        self._bases: dict[int, str] = {}
        """Of each schema that was met, by its identity."""
        self._resources: dict[str, JsonObject] = {"": root}
        self._anchors: dict[tuple[str, str], JsonObject] = {}
        self._dynamic: dict[str, set[str]] = {}
        self._targets: dict[tuple[int, str], Json] = {}
        self._root = root

    def target(self, schema: JsonObject, keyword: str) -> Json:
        """What the schema's `$ref` or `$dynamicRef` leads to. Raises `LeadsNowhere`.

        A `$dynamicRef` is resolved like a `$ref`: see `is_ambiguous`.
        """
        known = self._targets.get((id(schema), keyword), self)
        if known is self:
            known = self._targets[id(schema), keyword] = self._found(schema, keyword)
        return known

    def _found(self, schema: JsonObject, keyword: str) -> Json:
        if not self._bases:  # most schemas have no references
            self._index(self._root, "")
        reference = str(schema[keyword])
        base = self._bases.get(id(schema), "")
        whole = base + reference if reference.startswith("#") else _joined(base, reference)
        if whole.rstrip("#") == DIALECT:
            return METASCHEMA
        try:
            address, fragment = urldefrag(whole)
        except ValueError:  # no address at all
            raise LeadsNowhere(reference) from None
        fragment = unquote(fragment)
        resource = self._resources.get(address)
        if resource is None:
            raise LeadsNowhere(reference)
        if fragment and not fragment.startswith("/"):
            anchored = self._anchors.get((address, fragment))
            if anchored is None:
                raise LeadsNowhere(reference)
            return anchored
        return self._pointed(resource, fragment, address, reference)

    def is_ambiguous(self, reference: str) -> bool:
        """Whether what a `$dynamicRef` means depends on how a check came to it: its anchor stands in two resources."""
        if not self._bases:
            self._index(self._root, "")
        return len(self._dynamic.get(reference.rpartition("#")[2], ())) > 1

    def _pointed(self, resource: JsonObject, pointer: str, base: str, reference: str) -> Json:
        held: Json = resource
        for part in pointer.split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if is_object(held) and key in held:
                held = held[key]
            elif is_array(held) and key.isdecimal() and int(key[:9]) < len(held):
                held = held[int(key[:9])]
            else:
                raise LeadsNowhere(reference)
            if is_object(held):
                base = self._bases.get(id(held), base)
        if is_object(held):
            if id(held) not in self._bases:
                self._index(held, base)
        elif not isinstance(held, bool):
            raise LeadsNowhere(reference)
        return held

    def _index(self, root: JsonObject, base: str) -> None:
        pending: list[tuple[Json, str]] = [(root, base)]
        while pending:
            schema, around = pending.pop()
            if not is_object(schema) or id(schema) in self._bases:
                continue
            identity = schema.get("$id")
            own = _joined(around, identity).partition("#")[0] if isinstance(identity, str) else around
            self._bases[id(schema)] = own
            if isinstance(identity, str):
                self._resources.setdefault(own, schema)
            for keyword in ("$anchor", "$dynamicAnchor"):
                if isinstance(name := schema.get(keyword), str):
                    self._anchors.setdefault((own, name), schema)
            if isinstance(name := schema.get("$dynamicAnchor"), str):
                self._dynamic.setdefault(name, set()).add(own)
            pending += [(inner, own) for _, inner in children(schema)]
