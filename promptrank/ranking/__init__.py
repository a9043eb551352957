"""From requests to rankings: a method asks, an engine answers, steps change the ranking."""
