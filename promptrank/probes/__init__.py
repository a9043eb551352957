"""What ``eval --probe`` changes before it ranks again: one thing at a time."""
