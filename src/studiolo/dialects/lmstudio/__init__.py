"""LM Studio's WebSocket protocol: one module a namespace, and the connection that carries them."""
