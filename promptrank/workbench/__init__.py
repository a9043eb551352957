"""Pages on which people edit a task's words, see what they do, and label; at `/` of a server."""
