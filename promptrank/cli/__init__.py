"""The command line: a thin layer over `promptrank.api`."""
