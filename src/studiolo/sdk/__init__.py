"""The client: what a Python user imports. It reaches a host through a transport."""
