"""Names to opened things: a project's tasks, models, adapters, students, fusions, request files.

The one room that reads a project; verbs call it and each other never."""
