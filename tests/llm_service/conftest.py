from tests.support.llm_engine import engine, openai, sink, start_engine, upstream

__all__ = ["engine", "openai", "sink", "start_engine", "upstream"]
