"""Runs: outputs that appear whole, what is written beside them, and going on after a stop."""
