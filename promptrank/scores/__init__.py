"""Scores: rankings in columns, with where they come from."""
