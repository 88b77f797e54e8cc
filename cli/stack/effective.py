"""The settings that are in effect, each with where it comes from."""

from typing import Any, NamedTuple

from cli.stack.environment import settings_class
from cli.stack.plan import SERVICES
from cli.stack.settings import ADDRESS_FIELDS, StackSettings
from cli.stack.state import DataFolder, StackState
from studio.settings import MASK, PREFIX, given, is_secret, mask_url

NOT_SET = "-"
_MADE_BY_THE_STACK = frozenset({"secret_keys", "redis_url", "mongo_url", "temporal_address", "temporal_ui_url"})


class Effective(NamedTuple):
    value: str
    source: str


def effective_settings(settings: StackSettings, folder: DataFolder, stack: StackState | None) -> dict[str, Effective]:
    """By variable, those of all services. Secrets are masked, and so are the passwords in addresses."""
    found: dict[str, Effective] = {}
    for name, default in _defaults().items():
        origin = given(name)
        running = _running(name, stack)
        if name == "data_dir":
            source = origin[1] if origin else "--data" if name in settings.model_fields_set else "default"
            found[name] = Effective(str(folder.root), source)
        elif origin is not None:
            found[name] = Effective(origin[0], origin[1])
        elif running is not None:
            found[name] = Effective(running, "the running stack")
        else:
            found[name] = _fallback(name, default, settings, folder)
    return {PREFIX + name.upper(): _shown(name, value) for name, value in sorted(found.items())}


def _defaults() -> dict[str, Any]:
    """`STUDIO_PORT` is left out: each service has its own default, and the stack gives each one its port."""
    classes = [StackSettings, *map(settings_class, SERVICES)]
    fields = {
        name: field.get_default(call_default_factory=True, validated_data={})
        for kind in classes
        for name, field in kind.model_fields.items()
    }
    return {name: default for name, default in fields.items() if name != "port"}


def _running(name: str, stack: StackState | None) -> str | None:
    """What the stack that runs uses."""
    part = "temporal-ui" if name == "temporal_ui_url" else _PART_OF.get(name)
    return stack.address(part) if stack and part else None


def _fallback(name: str, default: Any, settings: StackSettings, folder: DataFolder) -> Effective:
    """What is used when neither the user nor a running stack says something."""
    if name == "secret_keys" and folder.keys_file.exists():
        return Effective(MASK, str(folder.keys_file))
    if name in _MADE_BY_THE_STACK:
        return Effective(NOT_SET, "`studio up` makes it")
    match name:
        case "database_url":
            value = f"sqlite+aiosqlite:///{folder.database_file}"
        case "clickhouse_url":
            value = f"chdb://{folder.root / 'traces'}"
        case "upstreams":
            value = "the local model"
        case "model_aliases" if settings.upstreams:
            value = NOT_SET
        case "model_aliases":
            value = ", ".join(f"{alias} = {target.model}" for alias, target in default.items())
        case _:
            value = _default_text(default)
    return Effective(value, "default")


def _default_text(default: Any) -> str:
    if isinstance(default, list | tuple):
        return ", ".join(map(str, default)) or NOT_SET  # pyright: ignore[reportUnknownArgumentType] - of any items
    return NOT_SET if default is None or default == "" else str(default)


def _shown(name: str, setting: Effective) -> Effective:
    hidden = is_secret(name) and setting.value != NOT_SET and setting.source != "default"
    return Effective(MASK if hidden else mask_url(setting.value), setting.source)


_PART_OF = {field: part for part, field in ADDRESS_FIELDS.items()}
