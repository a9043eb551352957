"""Task files as typed models; importing this package loads pydantic and nothing heavier."""
