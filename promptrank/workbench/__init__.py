"""The workbench: pages on which a person edits, tries and keeps versions of a task."""
