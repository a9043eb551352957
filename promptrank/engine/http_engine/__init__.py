"""The engine ``http``: a completions server that somebody else runs."""
