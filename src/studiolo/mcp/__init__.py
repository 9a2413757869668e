"""The client of MCP servers: for the tools of an SDK's user, and for those that a server calls itself."""
