"""``gbdt``: boosted trees."""
