"""Metrics with intervals, and the report that holds them.

The parts are imported by their own names (``promptrank.evaluation.report``), because all but
`metrics` load numpy.
"""
