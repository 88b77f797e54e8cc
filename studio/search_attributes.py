"""What runs can be searched by in Temporal; all of type Keyword."""

PROJECT, WORKFLOW, SESSION, PATTERN = "StudioProject", "StudioWorkflow", "StudioSession", "StudioPattern"
SEARCH_ATTRIBUTES = (PROJECT, WORKFLOW, SESSION, PATTERN)
