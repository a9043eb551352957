"""What every room may use: files, digests, hints, numbers."""
