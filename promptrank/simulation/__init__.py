"""Simulated marketplaces: logs with everything an open data set lacks, and the truth beside them.

docs/simulation.md has the model in formulas.
"""

KINDS = ("jobs",)
"""What ``promptrank simulate`` can make; ``data/<kind>`` is where built-in tasks look for it."""
