"""Every workflow that a worker runs."""

from workflows.maintenance import MaintenanceWorkflow
from workflows.patterns import (
    AgentWorkflow,
    ConditionalWorkflow,
    GraphWorkflow,
    HierarchicalWorkflow,
    ParallelWorkflow,
    SequentialWorkflow,
)

WORKFLOWS = (
    AgentWorkflow,
    SequentialWorkflow,
    ParallelWorkflow,
    ConditionalWorkflow,
    GraphWorkflow,
    HierarchicalWorkflow,
    MaintenanceWorkflow,
)
