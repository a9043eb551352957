"""Request files and the records in them: the format, reading, writing, sampling."""
