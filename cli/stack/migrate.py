"""`studio migrate`: every store that the settings name, or that the embedded stack keeps on this data folder."""

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path

from cli.stack.environment import MIGRATIONS, inherited
from cli.stack.parts import python_module
from cli.stack.plan import temporal_connect
from cli.stack.probes import NotReady, Probe, ask, mongo_probe, redis_probe, temporal_probe
from cli.stack.settings import StackSettings, stack_settings
from cli.stack.state import DataFolder, StackState, load
from studio.settings import mask_url

UNREACHABLE = 3


def migrate_all(data: Path | None, say: Callable[[str], None]) -> int:
    """Returns the exit code."""
    settings = stack_settings(data)
    folder = DataFolder(settings.data_dir.resolve())
    stack = load(folder.root)
    stores = ["sql"]
    redis, mongo = _address(settings, stack, "redis"), _address(settings, stack, "mongo")
    temporal = _address(settings, stack, "temporal")
    clickhouse = settings.clickhouse_url or f"chdb://{folder.root / 'traces'}"
    needed: dict[str, Probe] = {}
    if stack and clickhouse.startswith("chdb:") and stack.address("prompts"):
        say("prompts: the running stack holds the trace store and migrated it when it started")
    elif redis and mongo:
        stores.append("prompts")
        needed |= {f"redis at {mask_url(redis)}": redis_probe(redis), f"mongo at {mask_url(mongo)}": mongo_probe(mongo)}
    else:
        say("prompts: no server is running or set; `studio up` migrates its own when it starts")
    if temporal:
        stores.append("temporal")
        probe = temporal_probe(temporal_connect(settings, temporal), settings.temporal_namespace)
        needed[f"temporal at {temporal}"] = probe
    else:
        say("temporal: no server is running or set; `studio up` registers search attributes when it starts")
    down = asyncio.run(_down(needed))
    if down:
        for line in down:
            say(line)
        return UNREACHABLE
    warning = folder.make()
    if warning:
        say(warning)
    settled = {
        "STUDIO_DATA_DIR": str(folder.root),
        "STUDIO_CLICKHOUSE_URL": clickhouse,
        "STUDIO_REDIS_URL": redis,
        "STUDIO_MONGO_URL": mongo,
        "STUDIO_TEMPORAL_ADDRESS": temporal,
    }
    env = inherited(MIGRATIONS) | {name: value for name, value in settled.items() if value}
    return subprocess.run(python_module("cli.stack.migrations", *stores), env=env, check=False).returncode  # noqa: S603


def _address(settings: StackSettings, stack: StackState | None, part: str) -> str | None:
    return settings.address_of(part) or (stack.address(part) if stack else None)


async def _down(needed: dict[str, Probe]) -> list[str]:
    found: list[str] = []
    for name, probe in needed.items():
        try:
            await ask(probe, None)
        except NotReady as reason:
            found.append(f"{name} cannot be reached: {reason}. Start it or correct its address.")
    return found
