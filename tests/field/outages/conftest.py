from tests.api.conftest import lite
from tests.support.llm_engine import engine, sink, start_engine, upstream

__all__ = ["engine", "lite", "sink", "start_engine", "upstream"]
