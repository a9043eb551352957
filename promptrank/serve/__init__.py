"""Ranking over HTTP: an application of tasks that are opened already, and the shapes it speaks."""
