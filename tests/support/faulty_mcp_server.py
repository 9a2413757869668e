"""An MCP server over standard input and output with a fault, which the argument names; without the mcp package.

``silent METHOD`` does not answer that method, ``dies METHOD`` ends instead, ``noisy`` writes other text between its
messages, ``many`` lists 10,000 tools, ``endless`` lists pages without end, ``progress`` reports the progress of a call
three times before it answers, ``secret`` answers ``initialize`` with an error that repeats its argument.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

fault, *rest = sys.argv[1:]


def send(message: dict[str, Any]) -> None:
    if fault == "noisy":
        print("Listening on stdio ...\n\n{}", flush=True)
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def tool(name: str) -> dict[str, Any]:
    return {"name": name, "description": name, "inputSchema": {"type": "object", "properties": {}}}


def tools(cursor: str | None) -> dict[str, Any]:
    if fault == "endless":
        return {"tools": [tool(f"t{cursor}")], "nextCursor": str(int(cursor or 0) + 1)}
    if fault != "many":
        return {"tools": [tool("work")]}
    first = int(cursor or 0)
    page = {"tools": [tool(f"tool_{number}") for number in range(first, first + 50)]}
    return page if first + 50 >= 10_000 else {**page, "nextCursor": str(first + 50)}


def answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
    if method == "initialize":
        if fault == "secret":
            return {"error": {"code": -32603, "message": f"The token {rest[0]} is not valid"}}
        server = {"name": "faulty", "version": "1"}
        return {
            "result": {
                "protocolVersion": params["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": server,
            }
        }
    if method == "tools/list":
        return {"result": tools(params.get("cursor"))}
    if method == "tools/call":
        if fault == "progress":
            for number in range(4):
                time.sleep(1.5)
                token = params["_meta"]["progressToken"]
                send({"method": "notifications/progress", "params": {"progressToken": token, "progress": number}})
            time.sleep(1.5)
        return {"result": {"content": [{"type": "text", "text": "done"}]}}
    return {"error": {"code": -32601, "message": "Method not found"}}


for line in sys.stdin:
    request = json.loads(line)
    if "id" not in request:
        continue
    if rest and fault in ("silent", "dies") and request["method"] == rest[0]:
        if fault == "dies":
            print("out of luck", file=sys.stderr, flush=True)
            os._exit(3)
        continue
    send({"id": request["id"], **answer(request["method"], request.get("params") or {})})
