"""From requests to rankings: encode, score, combine, order."""
