"""Every workflow that a worker runs."""

from workflows.batch import BatchWorkflow
from workflows.maintenance import MaintenanceWorkflow
from workflows.patterns import (
    AgentWorkflow,
    ConditionalWorkflow,
    GraphWorkflow,
    HierarchicalWorkflow,
    ParallelWorkflow,
    SequentialWorkflow,
)
from workflows.scheduled import ScheduledRunWorkflow

WORKFLOWS = (
    AgentWorkflow,
    SequentialWorkflow,
    ParallelWorkflow,
    ConditionalWorkflow,
    GraphWorkflow,
    HierarchicalWorkflow,
    ScheduledRunWorkflow,
    BatchWorkflow,
    MaintenanceWorkflow,
)
