"""A user's own ``llama-server`` as the engine: same HTTP, same client, another process."""
