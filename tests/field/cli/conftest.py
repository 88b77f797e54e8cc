from tests.cli.conftest import definitions, logs_apart, platform

__all__ = ["definitions", "logs_apart", "platform"]
