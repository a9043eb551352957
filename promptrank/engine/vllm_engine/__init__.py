"""vLLM behind the engine contract: it runs in a process of its own, and ids go through a pipe."""
