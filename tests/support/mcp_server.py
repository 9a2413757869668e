"""A small MCP server, made with the official package: over standard input and output, or HTTP on the port given.

A second argument asks for the older kind of HTTP.
"""

from __future__ import annotations

import os
import sys

from mcp.server.mcpserver import Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("test server")


@server.tool()
def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


@server.tool()
def greet(name: str, loud: bool = False) -> str:
    """Greet someone."""
    text = f"Hello, {name}!"
    return text.upper() if loud else text


@server.tool()
def environment(name: str) -> str:
    """The value of an environment variable."""
    return os.environ.get(name, "")


@server.tool()
def broken() -> str:
    """Fail."""
    raise ToolError("it is broken")


@server.tool()
def picture() -> Image:
    """A picture."""
    return Image(data=b"0123456789", format="png")


if __name__ == "__main__":
    if len(sys.argv) > 2:
        server.run(transport="sse", host="127.0.0.1", port=int(sys.argv[1]))
    elif len(sys.argv) > 1:
        server.run(transport="streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        server.run()
