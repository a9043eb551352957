"""Purging: a person leaves what was written, a kind of place a module, and `proof` looks again."""
