"""Simulated marketplaces: logs with everything an open data set lacks, and the truth beside them.

docs/reference/simulation.md has the model in formulas.
"""
