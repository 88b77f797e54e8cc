from tests.support.llm_engine import engine, sink, start_engine, upstream

__all__ = ["engine", "sink", "start_engine", "upstream"]
