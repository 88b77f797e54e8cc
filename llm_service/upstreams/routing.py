"""From the `model` of a request to an upstream and the model's name there."""

from dataclasses import dataclass

from llm_service.errors import ModelNotFound
from llm_service.settings import ModelAlias, UpstreamConfig
from studio.contracts.base import JsonObject


@dataclass(frozen=True, slots=True)
class Target:
    upstream: str
    model: str
    """The model's name at the upstream."""
    params: JsonObject
    """What the alias fills in where the caller left it out."""


class ModelRouter:
    """Knows aliases, `upstream/model`, and the names that upstreams' `models` mappings give."""

    def __init__(self, upstreams: list[UpstreamConfig], aliases: dict[str, ModelAlias]) -> None:
        self._upstreams = {upstream.name: upstream for upstream in upstreams}
        self.aliases = {
            name: alias for name, alias in aliases.items() if alias.model.partition("/")[0] in self._upstreams
        }
        """Without those whose upstream does not exist: the default alias, when there is no `local`."""
        self._known: dict[str, Target] = {}

    def resolve(self, asked: str) -> Target:
        """Raises `ModelNotFound` for a name that is neither an alias nor a configured upstream's model."""
        known = self._known.get(asked)
        if known is None:
            known = self._resolve(asked)
            if len(self._known) < 10_000:  # names come from callers
                self._known[asked] = known
        return known

    def _resolve(self, asked: str) -> Target:
        alias = self.aliases.get(asked)
        if alias is not None:
            target = self._of_upstream(alias.model)
            if target is not None:
                return Target(target.upstream, target.model, alias.params)
        target = self._of_upstream(asked) or self._of_bare_name(asked)
        if target is None:
            raise ModelNotFound(
                f"No model {asked!r} is configured. Use UPSTREAM/MODEL with one of the upstreams "
                f"{sorted(self._upstreams)} or one of the aliases {sorted(self.aliases)}; GET /v1/models lists them."
            )
        return target

    def _of_upstream(self, path: str) -> Target | None:
        name, _, model = path.partition("/")
        upstream = self._upstreams.get(name)
        if upstream is None or not model:
            return None
        match upstream.models:
            case None:
                return Target(name, model, {})
            case dict() as names if model in names:
                return Target(name, names[model], {})
            case dict() as names if model in names.values():
                return Target(name, model, {})
            case list() as models if model in models:
                return Target(name, model, {})
            case _:
                return None

    def _of_bare_name(self, asked: str) -> Target | None:
        """A name that exactly one upstream's mapping gives."""
        found = [
            Target(upstream.name, upstream.models[asked], {})
            for upstream in self._upstreams.values()
            if isinstance(upstream.models, dict) and asked in upstream.models
        ]
        return found[0] if len(found) == 1 else None
