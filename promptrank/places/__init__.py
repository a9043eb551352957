"""Where data lives besides local files: object stores, databases, Delta tables."""
