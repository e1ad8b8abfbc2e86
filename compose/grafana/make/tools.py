"""Tools and MCP: what the model reached for, what failed, how long it took, and who said yes or no."""

from blocks import (
    EDITS, WHO,
    Board, added, counted, events, graph, jaeger, logs, loki, prometheus, quantile, ranking, stat, table, total, traces_table,
)

RESULT = events("tool_result")
FAILED = events("tool_result", 'success="false"')
MCP = events("tool_result", 'tool_name=~"mcp_tool|mcp__.*"')
SERVER = events("mcp_server_connection")
# An MCP tool's result names its server and tool in tool_parameters only.
NAMED = MCP + ' | line_format `{{.tool_parameters}}` | regexp `"mcp_server_name":"(?P<server>[^"]*)","mcp_tool_name":"(?P<tool>[^"]*)"`'
EACH = "$__interval"


def board():
    it = Board(
        "sandboxctl-tools",
        "Claude Code: tools and MCP",
        "Calls, failures, latency and decisions of tools, MCP servers and the model.",
        WHO,
    )
    tools(it)
    decisions(it)
    servers(it)
    model(it)
    return it


def number(query):
    return loki(query, instant=True)


def tools(it):
    it.row("Tools")
    it.add(
        6,
        4,
        stat("Calls", "Tools that ran.", number(counted(RESULT))),
        stat("Failed", "Tools that ran and failed.", number(counted(FAILED)), none="none", steps=("text", (1, "orange"))),
        stat(
            "Share that failed",
            "Failed calls of all calls.",
            number(f"{counted(FAILED)} / {counted(RESULT)}"),
            "percentunit",
            none="none",
        ),
        stat("Answers, 95 %", "Nineteen of twenty tools answered within this.", number(quantile(0.95, RESULT, "duration_ms", "service_name", "$__range")), "ms"),
    )
    it.add(
        12,
        8,
        graph("Calls by tool", "Calls in each interval.", loki(counted(RESULT, "tool_name", EACH), "{{tool_name}}"), bars=True),
        graph(
            "Failures by tool",
            "Calls that failed in each interval.",
            loki(counted(FAILED, "tool_name", EACH), "{{tool_name}}"),
            bars=True,
            none="none failed",
        ),
        graph(
            "How long tools took, median",
            "Milliseconds, by tool, in each interval.",
            loki(quantile(0.5, RESULT, "duration_ms", "tool_name"), "{{tool_name}}"),
            "ms",
            interval="1m",
        ),
        graph(
            "How long tools took, 95 %",
            "Milliseconds, by tool, in each interval.",
            loki(quantile(0.95, RESULT, "duration_ms", "tool_name"), "{{tool_name}}"),
            "ms",
            interval="1m",
        ),
    )
    it.add(
        14,
        9,
        table(
            "Tools",
            "Of this range.",
            [
                ("Calls", "short", number(counted(RESULT, "tool_name"))),
                ("Failed", "short", number(counted(FAILED, "tool_name"))),
                ("Median", "ms", number(quantile(0.5, RESULT, "duration_ms", "tool_name", "$__range"))),
                ("95 %", "ms", number(quantile(0.95, RESULT, "duration_ms", "tool_name", "$__range"))),
                ("Time", "ms", number(added(RESULT, "duration_ms", "tool_name"))),
                ("Results", "bytes", number(added(RESULT, "tool_result_size_bytes", "tool_name"))),
            ],
            {"tool_name": "Tool"},
            sort="Calls",
        ),
    )
    it.add(
        10,
        9,
        logs(
            "Failures",
            "What tools said when they failed, newest first.",
            loki(FAILED + " | line_format `{{.tool_name}}: {{.error_type}} {{.error}}`", lines=200),
            none="none failed",
        ),
    )


def decisions(it):
    decision = events("tool_decision")
    it.row("Decisions")
    it.add(
        12,
        8,
        graph(
            "Decisions",
            "Who allowed or refused tools, in each interval: config (a rule), hook (the daemon's policy), a user.",
            loki(counted(decision, "decision, source", EACH), "{{decision}} by {{source}}"),
            bars=True,
        ),
        graph(
            "Edits",
            "Decisions on the client's edits, in each interval, from its metric.",
            prometheus(total(EDITS, "decision, source", window=EACH), "{{decision}} by {{source}}"),
            bars=True,
            none="no edit",
        ),
    )
    it.add(
        8,
        8,
        table(
            "By tool",
            "Decisions of this range.",
            [("Decisions", "short", number(counted(decision, "tool_name, decision, source")))],
            {"tool_name": "Tool", "decision": "Decision", "source": "By"},
            sort="Decisions",
        ),
        ranking(
            "Edits by language",
            "Edits that were decided on, by the file's language.",
            prometheus(total(EDITS, "language"), "{{language}}", instant=True),
            none="no edit",
        ),
        traces_table(
            "Waits for a person",
            "The latest traces in which a tool waited for somebody's decision for more than ten seconds.",
            jaeger("claude-code", "claude_code.tool.blocked_on_user", min_duration="10s", limit=20),
            "/d/sandboxctl-sessions?${__url_time_range}&var-trace=${__value.text}",
            none="nobody kept a tool waiting",
        ),
    )


def servers(it):
    it.row("MCP")
    it.add(
        8,
        8,
        table(
            "Connections",
            "Of clients to MCP servers, by outcome. Disconnected is the ordinary end of a client.",
            [("Times", "short", number(counted(SERVER, "server_name, status, error_code")))],
            {"server_name": "Server", "status": "Outcome", "error_code": "Error"},
            sort="Times",
            none="no MCP server",
        ),
        table(
            "Calls",
            "Calls of MCP tools, and their failures.",
            [
                ("Calls", "short", number(counted(NAMED, "server, tool"))),
                ("Failed", "short", number(counted(NAMED.replace(" | line_format", ' | success="false" | line_format'), "tool"))),
            ],
            {"tool": "Tool", "server": "Server"},
            sort="Calls",
            none="no MCP tool",
        ),
        graph(
            "How long servers took to connect, 95 %",
            "Milliseconds, in each interval.",
            loki(quantile(0.95, events("mcp_server_connection", 'status="connected"'), "duration_ms", "server_name"), "{{server_name}}"),
            "ms",
            interval="1m",
            none="no MCP server",
        ),
    )


def model(it):
    request, failed = events("api_request"), events("api_error")
    it.row("The model")
    it.add(
        8,
        8,
        graph(
            "First token",
            "Milliseconds until the model began to answer, in each interval: median and 95 %.",
            [
                loki(quantile(0.5, request, "ttft_ms", "model"), "{{model}}, median"),
                loki(quantile(0.95, request, "ttft_ms", "model"), "{{model}}, 95 %"),
            ],
            "ms",
            interval="1m",
        ),
        graph(
            "Calls by model",
            "Calls in each interval that were answered.",
            loki(counted(request, "model", EACH), "{{model}}"),
            bars=True,
        ),
        graph(
            "Calls given up",
            "Calls that failed for good after the client's retries, by status, in each interval.",
            loki(counted(failed, "model, status_code", EACH), "{{model}} {{status_code}}"),
            bars=True,
            none="none",
        ),
    )
    it.add(
        24,
        8,
        table(
            "Subagents",
            "Agents that were sent off, and came back.",
            [
                ("Times", "short", number(counted(events("subagent_completed"), "agent_type"))),
                ("Tools", "short", number(added(events("subagent_completed"), "total_tool_uses", "agent_type"))),
                ("Median", "ms", number(quantile(0.5, events("subagent_completed"), "duration_ms", "agent_type", "$__range"))),
            ],
            {"agent_type": "Agent"},
            sort="Times",
            none="no agent",
        ),
    )
