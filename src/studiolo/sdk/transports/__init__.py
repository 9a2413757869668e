"""Ways to a host: in this process, or over WebSockets."""
