"""Counts of things, in words."""


def counted(count: int, noun: str, nouns: str | None = None) -> str:
    """``1 subject``, ``2,000 subjects``; ``nouns`` where the plural takes more than an s."""
    return f"{count:,} {noun if count == 1 else nouns or f'{noun}s'}"
