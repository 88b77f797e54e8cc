"""Every workflow that a worker runs."""

from workflows.agent import AgentWorkflow
from workflows.sequential import SequentialWorkflow

WORKFLOWS = (AgentWorkflow, SequentialWorkflow)
PATTERNS = {"sequential": SequentialWorkflow}
"""The workflow type that carries a pattern."""
