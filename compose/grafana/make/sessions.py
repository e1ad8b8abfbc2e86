"""Sessions: what is alive, every session of the range, and one of them in depth."""

from blocks import (
    EVENTS, SESSION, WHO,
    Board, added, counted, events, gain, graph, heatmap, jaeger, logs, loki, one_trace, own, override, prometheus, quantile,
    ranking, stat, table, trace, traces_table, typed,
)

ID = "sandbox_session_id"
CHOSEN = "/d/sandboxctl-sessions?${__url_time_range}&${user:queryparam}&${team:queryparam}&${profile:queryparam}"
ERRORS = '(event_name="api_error" or event_name="tool_result" and success="false")'
# A log line that reads alone, from the fields that most events have.
READABLE = (
    "{{.event_name}}"
    "{{if .tool_name}} {{.tool_name}}{{end}}{{if .model}} {{.model}}{{end}}{{if .decision}} {{.decision}} by {{.source}}{{end}}"
    '{{if eq .success "false"}} FAILED: {{.error}}{{end}}{{if .cost_usd}} {{.cost_usd}} USD{{end}}'
    "{{if .duration_ms}} {{.duration_ms}} ms{{end}}{{if .prompt}}: {{.prompt | trunc 200}}{{end}}"
)
NOISE = "hook_registered|hook_execution_start|hook_execution_complete|plugin_loaded"


def board():
    it = Board(
        "sandboxctl-sessions",
        "Claude Code: sessions",
        "What is alive, every session of the range, and one of them with its logs and traces.",
        [
            *WHO,
            typed("session", "Session", "Beginning of a session's id; a click on one in the table sets it."),
            typed("trace", "Trace", "Id of a trace; a click on one in the tables below sets it."),
        ],
        span="now-6h",
        refresh="30s",
    )
    alive(it)
    everyone(it)
    one(it)
    return it


def alive(it):
    it.row("Alive")
    it.add(
        4,
        4,
        stat(
            "Running",
            "Sessions that run now, on all daemons.",
            prometheus('sum(max by (instance) (sandboxctl_sessions{phase="running"}))', instant=True),
            none="no daemon",
        ),
        stat(
            "Viewers",
            "Terminals and pages that look at a session now.",
            prometheus("sum(max by (instance) (sandboxctl_viewers))", instant=True),
            none="no daemon",
        ),
        stat(
            "Least complete",
            "Completeness of the live session that has lost most telemetry, 100 % where nothing is missing.",
            prometheus("min(sandboxctl_completeness_ratio)", instant=True),
            "percentunit",
            steps=("red", (1, "green")),
            none="no daemon",
        ),
        stat(
            "Dark",
            "Live sessions of claude that called the model in the last five minutes and sent no telemetry since.",
            prometheus("sum(max by (instance) (sandboxctl_sessions_dark))", instant=True),
            steps=("green", (1, "red")),
            none="no daemon",
        ),
        stat(
            "Start, median",
            "Seconds from asking for a session to its program's start, in this range.",
            prometheus(start_quantile(0.5), instant=True),
            "s",
            none="no start",
        ),
        stat(
            "Start, 95 %",
            "Nineteen of twenty sessions started within this many seconds.",
            prometheus(start_quantile(0.95), instant=True),
            "s",
            none="no start",
        ),
    )
    it.add(
        8,
        7,
        graph(
            "Sessions by phase",
            "Of all daemons.",
            prometheus("sum by (phase) (max by (instance, phase) (sandboxctl_sessions))", "{{phase}}"),
            stacked=True,
        ),
        heatmap(
            "How long starts took",
            "Starts by their length; colour tells how many.",
            prometheus(
                buckets("$__interval"),
                "{{le}}",
            ),
            interval="1m",
            maxDataPoints=60,
        ),
        ranking(
            "Ends by reason",
            "Why sessions of this range ended.",
            prometheus(own("sandboxctl_session_ends_total", "reason"), "{{reason}}", instant=True),
            none="none ended",
        ),
    )


def start_quantile(q):
    return f"histogram_quantile({q}, {buckets('$__range')})"


def buckets(window):
    return f"sum by (le) (max by (instance, engine, le) ({gain('sandboxctl_session_start_seconds_bucket', window)}))"


def everyone(it):
    def column(query):
        return loki(query, instant=True)

    seen = (
        f"max by ({ID}, user_email, sandbox_profile) (max_over_time({EVENTS} | label_format "
        "seen=`{{__timestamp__ | unixEpochMillis}}` | unwrap seen [$__range]) "
        f"by ({ID}, user_email, sandbox_profile))"
    )
    it.row("Sessions of this range")
    it.add(
        24,
        11,
        table(
            "Sessions",
            "From the client's events. Click an id to see that session below.",
            [
                ("Last seen", "dateTimeFromNow", column(seen)),
                ("Turns", "short", column(counted(events("user_prompt"), ID))),
                ("Cost", "currencyUSD", column(added(events("api_request"), "cost_usd", ID))),
                ("Output tokens", "short", column(added(events("api_request"), "output_tokens", ID))),
                ("Tools", "short", column(counted(events("tool_result"), ID))),
                ("Errors", "short", column(counted(f"{EVENTS} | {ERRORS}", ID))),
            ],
            {ID: "Session", "user_email": "Person", "sandbox_profile": "Profile"},
            sort="Last seen",
            links={"Session": CHOSEN + "&var-session=${__value.text}"},
            overrides=[override("Errors", color={"mode": "thresholds"}, custom__cellOptions={"type": "color-text"})],
            steps=("text", (1, "red")),
        ),
    )


def one(it):
    def number(query):
        return loki(query, instant=True)

    it.row("One session: ${session}")
    it.add(
        4,
        4,
        stat("Turns", "Prompts of the session; of all sessions while none is chosen.", number(counted(mine("user_prompt")))),
        stat(
            "Cost",
            "US dollars, the sum over its calls of the model by the client's estimate.",
            number(added(mine("api_request"), "cost_usd")),
            "currencyUSD",
        ),
        stat("Tools", "Tools that ran.", number(counted(mine("tool_result"))), none="none"),
        stat(
            "Errors",
            "Tools that failed and model calls that were given up.",
            number(counted(f"{SESSION} | {ERRORS}")),
            none="none",
            steps=("text", (1, "red")),
        ),
        stat(
            "First token, median",
            "Milliseconds until the model began to answer.",
            number(quantile(0.5, mine("api_request"), "ttft_ms", "service_name", "$__range")),
            "ms",
        ),
        stat(
            "Clients",
            "Claude Code's own session ids in it: /clear and a new start make another.",
            number(f"count(sum by (session_id) (count_over_time({SESSION} | session_id!=`` [$__range])))"),
        ),
    )
    it.add(
        8,
        8,
        graph(
            "Cost by model",
            "US dollars in each interval.",
            loki(added(mine("api_request"), "cost_usd", "model", "$__interval"), "{{model}}"),
            "currencyUSD",
            bars=True,
        ),
        graph(
            "What it did",
            "Its events in each interval.",
            loki(counted(f'{SESSION} | event_name!~"{NOISE}"', "event_name", "$__interval"), "{{event_name}}"),
            bars=True,
        ),
        table(
            "Its tools",
            "Calls, failures and the longest wait for each.",
            [
                ("Calls", "short", number(counted(mine("tool_result"), "tool_name"))),
                ("Failed", "short", number(counted(mine("tool_result", 'success="false"'), "tool_name"))),
                (
                    "Longest",
                    "ms",
                    number(f"max_over_time({mine('tool_result')} | unwrap duration_ms [$__range]) by (tool_name)"),
                ),
            ],
            {"tool_name": "Tool"},
            sort="Calls",
        ),
    )
    it.add(
        24,
        11,
        logs(
            "Its log",
            "What happened, newest first; a line's details show every field. What hooks and plugins say of themselves is left out.",
            loki(f'{SESSION} | event_name!~"{NOISE}" | line_format `{READABLE}`', lines=500),
        ),
    )
    show = CHOSEN + "&${session:queryparam}&var-trace=${__value.text}"
    it.add(
        12,
        8,
        traces_table(
            "Its traces: the client's",
            "One for each prompt, and of claude -p one for the session. Needs the whole id of a session above.",
            jaeger("claude-code", tags="sandbox.session.id=$session"),
            show,
            none="choose a session in the table above",
        ),
        traces_table(
            "Its trace: the daemon's",
            "Made when the session has ended: what went through the gateway, hooks and the proxy. Needs the whole id too.",
            jaeger("sandboxctl", tags="sandbox.session.id=$session"),
            show,
            none="choose a session that has ended",
        ),
    )
    it.add(24, 12, one_trace("Trace ${trace}", "The trace that was clicked above.", trace("$trace"), none="choose a trace above"))


def mine(event, more=""):
    return events(event, more, SESSION)
