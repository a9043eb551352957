"""Where data lives besides local files: object stores, databases, Delta and Iceberg tables."""
