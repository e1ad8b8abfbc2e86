"""Cost and return: who and what the money goes to, what came of it, and where the month is heading."""

from blocks import (
    ACTIVE, COMMITS, COST, LINES, MODEL, PULLS, STARTS, TOKENS, WHO,
    Board, added, counted, events, graph, loki, own, prometheus, ranking, stat, table, total,
)

MODELS = 'model=~"$model"'
PROFILES = 'profile=~"$profile"'
GATEWAY = "sandboxctl_model_cost_usd_total"
# Seconds of this month that are still to come, in UTC.
LEFT = "(86400 * (days_in_month() - day_of_month() + 1) - 3600 * hour() - 60 * minute())"


def board():
    it = Board(
        "sandboxctl-cost",
        "Claude Code: cost and return",
        "What was spent, by whom, on what; what came of it; and where the month is heading.",
        [*WHO, MODEL],
        span="now-7d",
        refresh="5m",
    )
    money(it)
    split(it)
    returns(it)
    return it


def money(it):
    def now(query):
        return prometheus(query, instant=True)

    month = total(COST, more=MODELS)
    week = total(COST, more=MODELS, window="7d")
    gateway = own(GATEWAY, more=PROFILES)
    it.row("Money")
    it.add(
        4,
        4,
        stat("Cost", "US dollars of this range, by the client's estimate.", now(total(COST, more=MODELS)), "currencyUSD"),
        stat(
            "Month to date",
            "US dollars since the first of the month, whatever the range above is.",
            now(month),
            "currencyUSD",
            timeFrom="now/M",
        ),
        stat(
            "Forecast for the month",
            "Month to date, and for the rest of the month (UTC) the mean of the last seven days.",
            now(f"{month} + {week} / 604800 * {LEFT}"),
            "currencyUSD",
            timeFrom="now/M",
        ),
        stat(
            "By the gateway",
            "US dollars of this range as the gateway counts them, of all daemons and profiles: what budgets go by. "
            "Only the Profile above narrows it.",
            now(gateway),
            "currencyUSD",
            none="no daemon",
        ),
        stat(
            "Client against gateway",
            "The client's figure less the gateway's, as a share of the gateway's. Choose all users, teams and models. Telemetry "
            "that was lost, or clients outside a sandbox, make a difference.",
            now(f"({total(COST)} - {gateway}) / ({gateway} > 0)"),
            "percentunit",
            decimals=1,
            steps=("red", (-0.05, "green"), (0.05, "red")),
            none="no daemon",
        ),
        stat(
            "Cost of a session",
            "US dollars for each client that began.",
            now(f"{total(COST, more=MODELS)} / ({total(STARTS)} > 0)"),
            "currencyUSD",
        ),
    )
    it.add(
        12,
        8,
        graph(
            "Cost by team",
            "US dollars in each interval. People that no team names have none.",
            prometheus(total(COST, "team", MODELS, "$__interval"), "{{team}}"),
            "currencyUSD",
            bars=True,
        ),
        graph(
            "Client beside gateway",
            "US dollars in each interval, counted twice: by the client, and by the gateway from the model's own answers.",
            [
                prometheus(total(COST, window="$__interval"), "client"),
                prometheus(own(GATEWAY, more=PROFILES, window="$__interval"), "gateway"),
            ],
            "currencyUSD",
            bars=True,
            stacked=False,
        ),
    )


def split(it):
    def most(by, metric=COST, more=MODELS):
        return prometheus(f"topk(10, {total(metric, by, more)} > 0)", "{{%s}}" % by, instant=True)

    agents = total(COST, "agent_name", f'agent_name!="",{MODELS}')
    it.row("By")
    it.add(
        6,
        9,
        ranking("People", "The ten who spent most.", most("user_email"), "currencyUSD"),
        ranking("Teams", "The ten teams that spent most; no name stands for people whom no team names.", most("team"), "currencyUSD"),
        ranking("Models", "US dollars by model.", most("model"), "currencyUSD"),
        ranking(
            "Agents",
            "US dollars of calls that subagents made, by agent.",
            prometheus(f"topk(10, {agents} > 0)", "{{agent_name}}", instant=True),
            "currencyUSD",
            none="no agent",
        ),
    )
    it.add(
        8,
        8,
        ranking(
            "Where from",
            "US dollars by what asked: the conversation (main), a subagent, or work beside it such as titles and summaries (auxiliary).",
            most("query_source"),
            "currencyUSD",
        ),
        table(
            "MCP tools",
            "US dollars of the calls that read an MCP tool's answer, as the client attributes them.",
            [
                (
                    "Cost",
                    "currencyUSD",
                    prometheus(total(COST, "mcp_server_name, mcp_tool_name", f'mcp_tool_name!="",{MODELS}'), table=True),
                )
            ],
            {"mcp_server_name": "Server", "mcp_tool_name": "Tool"},
            sort="Cost",
            none="no MCP tool",
        ),
        table(
            "Tools",
            "What each tool put into the conversation. The client attributes no cost to its own tools: a result is paid as input, "
            "about a token for four bytes, again with each turn that follows.",
            [
                ("Calls", "short", loki(counted(events("tool_result"), "tool_name"), instant=True)),
                (
                    "Results",
                    "bytes",
                    loki(added(events("tool_result"), "tool_result_size_bytes", "tool_name"), instant=True),
                ),
                ("Input", "bytes", loki(added(events("tool_result"), "tool_input_size_bytes", "tool_name"), instant=True)),
            ],
            {"tool_name": "Tool"},
            sort="Results",
        ),
    )
    it.add(
        24,
        9,
        table(
            "The dearest sessions",
            "US dollars by session, from the client's events. The id opens the session.",
            [
                (
                    "Cost",
                    "currencyUSD",
                    loki(
                        "topk(20, "
                        + added(events("api_request", MODELS), "cost_usd", "sandbox_session_id, user_email")
                        + ")",
                        instant=True,
                    ),
                ),
                ("Turns", "short", loki(counted(events("user_prompt"), "sandbox_session_id"), instant=True)),
            ],
            {"sandbox_session_id": "Session", "user_email": "Person"},
            sort="Cost",
            links={"Session": "/d/sandboxctl-sessions?${__url_time_range}&var-session=${__value.text}"},
        ),
    )


def returns(it):
    def per(metric):
        return prometheus(f"{total(COST)} / ({total(metric)} > 0)", instant=True)

    def column(metric, more=""):
        return prometheus(total(metric, "user_email", more), table=True)

    def column_per(metric):
        return prometheus(f"{total(COST, 'user_email')} / ({total(metric, 'user_email')} > 0)", table=True)

    typed = total(ACTIVE, more='type="user"')
    it.row("Return")
    it.add(
        6,
        4,
        stat("Cost of a pull request", "Everything that was paid, by pull requests opened.", per(PULLS), "currencyUSD", none="none opened"),
        stat("Cost of a commit", "Everything that was paid, by commits made.", per(COMMITS), "currencyUSD", none="none made"),
        stat(
            "Lines for a dollar",
            "Lines added and removed for each US dollar.",
            prometheus(f"{total(LINES)} / ({total(COST)} > 0)", instant=True),
            none="none",
        ),
        stat(
            "Cost of an active hour",
            "US dollars for each hour in which a person was at it.",
            prometheus(f"3600 * {total(COST)} / ({typed} > 0)", instant=True),
            "currencyUSD",
            none="nobody typed",
        ),
    )
    it.add(
        24,
        9,
        table(
            "People",
            "What each spent and what came of it.",
            [
                ("Cost", "currencyUSD", column(COST)),
                ("Commits", "short", column(COMMITS)),
                ("Pull requests", "short", column(PULLS)),
                ("Lines", "short", column(LINES)),
                ("A commit", "currencyUSD", column_per(COMMITS)),
                ("A pull request", "currencyUSD", column_per(PULLS)),
                ("Output tokens", "short", column(TOKENS, 'type="output"')),
            ],
            {"user_email": "Person"},
            sort="Cost",
        ),
    )
