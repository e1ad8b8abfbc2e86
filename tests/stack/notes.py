"""An MCP server over stdio with one tool, so that sessions have MCP telemetry to show."""

import json
import sys

TOOL = {
    "name": "add",
    "description": "Keeps a note.",
    "inputSchema": {"type": "object", "properties": {"text": {"type": "string", "default": "a note"}}, "required": ["text"]},
}
ANSWERS = {
    "initialize": lambda params: {
        "protocolVersion": params.get("protocolVersion", "2025-06-18"),
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "notes", "version": "1"},
    },
    "tools/list": lambda params: {"tools": [TOOL]},
    "tools/call": lambda params: {"content": [{"type": "text", "text": "kept"}]},
}

for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        answer = ANSWERS.get(message["method"], lambda params: {})
        result = answer(message.get("params", {}))
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
