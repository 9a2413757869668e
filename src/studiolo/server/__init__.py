"""The server: one app that mounts the dialects, and the process that listens."""
