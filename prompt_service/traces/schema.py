"""The tables of the trace store.

Order keys hold only what is fixed when a span starts; a span sent again collapses into one row, the later one wins.
"""

SPANS = "spans"
PAYLOADS = "span_payloads"
REJECTED = "rejected_spans"
READ_SETTINGS = {"do_not_merge_across_partitions_select_final": 1}
INSERT_SETTINGS = {"max_partitions_per_insert_block": 0}
"""One request may carry spans of many months."""

_RETENTION = "TTL {moment} + toIntervalDay({days})"
_TABLES: dict[str, tuple[str, str]] = {
    SPANS: (
        "started_at",
        """
CREATE TABLE IF NOT EXISTS spans (
  project_id LowCardinality(String),
  trace_id String,
  span_id String,
  parent_span_id Nullable(String),
  name String,
  kind LowCardinality(String),
  session_id Nullable(String),
  user_id Nullable(String),
  run_id Nullable(String),
  step_id Nullable(String),
  workflow_name LowCardinality(Nullable(String)),
  workflow_version Nullable(Int64),
  agent LowCardinality(Nullable(String)),
  prompt_id Nullable(String),
  prompt_version Nullable(Int64),
  model LowCardinality(Nullable(String)),
  upstream LowCardinality(Nullable(String)),
  params Nullable(String),
  status LowCardinality(String),
  error_type LowCardinality(Nullable(String)),
  error_message Nullable(String),
  started_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
  ended_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
  ttft_ms Nullable(Float64),
  overhead_ms Nullable(Float64),
  experiment Nullable(String),
  arm Nullable(String),
  prompt_tokens UInt64,
  completion_tokens UInt64,
  cached_tokens UInt64,
  cache_write_tokens UInt64,
  audio_tokens UInt64,
  reasoning_tokens UInt64,
  usage_source LowCardinality(String),
  cost_usd Nullable(Decimal(38, 12)),
  cost_source LowCardinality(String),
  price_revision LowCardinality(Nullable(String)),
  tags Array(String),
  metadata Map(String, String),
  input_preview Nullable(String),
  output_preview Nullable(String),
  ingested_at DateTime64(6, 'UTC'),
  INDEX by_trace trace_id TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX by_session session_id TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX by_run run_id TYPE bloom_filter(0.01) GRANULARITY 1
) ENGINE = ReplacingMergeTree(ingested_at)
PARTITION BY toYYYYMM(started_at)
ORDER BY (project_id, toStartOfHour(started_at), trace_id, span_id)
""",
    ),
    PAYLOADS: (
        "started_at",
        """
CREATE TABLE IF NOT EXISTS span_payloads (
  trace_id String,
  span_id String,
  started_at DateTime64(6, 'UTC'),
  input Nullable(String) CODEC(ZSTD(3)),
  input_cut_length Nullable(UInt64),
  input_cut_sha256 Nullable(String),
  output Nullable(String) CODEC(ZSTD(3)),
  output_cut_length Nullable(UInt64),
  output_cut_sha256 Nullable(String),
  ingested_at DateTime64(6, 'UTC')
) ENGINE = ReplacingMergeTree(ingested_at)
PARTITION BY toYYYYMM(started_at)
ORDER BY (trace_id, span_id)
""",
    ),
    REJECTED: (
        "rejected_at",
        """
CREATE TABLE IF NOT EXISTS rejected_spans (
  rejected_at DateTime64(6, 'UTC'),
  error String,
  span String CODEC(ZSTD(3))
) ENGINE = MergeTree
PARTITION BY toYYYYMM(rejected_at)
ORDER BY rejected_at
""",
    ),
}


def create_statements(retention_days: int) -> dict[str, str]:
    """The statement that makes each table, by its name."""
    return {
        table: f"{statement.strip()}\n{_RETENTION.format(moment=moment, days=int(retention_days))}"
        for table, (moment, statement) in _TABLES.items()
    }


def retention_statement(table: str, retention_days: int) -> str:
    moment = _TABLES[table][0]
    return f"ALTER TABLE {table} MODIFY {_RETENTION.format(moment=moment, days=int(retention_days))}"
