"""Guard: what was refused, what was let out, what was spent of budgets, and whether anything is missing."""

from blocks import (
    EVENTS, WHO,
    Board, counted, events, graph, jaeger, logs, loki, own, prometheus, ranking, stat, table, traces_table,
)

HOOKS = "sandboxctl_hooks_total"
EGRESS = "sandboxctl_egress_total"
CALLS = "sandboxctl_model_calls_total"
OTLP = "sandboxctl_otlp_requests_total"
EACH = "$__interval"


def board():
    it = Board(
        "sandboxctl-guard",
        "Claude Code: guard",
        "Refusals, egress, budgets and completeness. What the daemon counts is of all people: only logs are narrowed.",
        WHO,
    )
    now(it)
    refusals(it)
    missing(it)
    details(it)
    return it


def now(it):
    def gain(metric, more):
        return prometheus(own(metric, more=more), instant=True)

    it.row("In this range")
    it.add(
        4,
        4,
        stat("Hooks that denied", "Tools and prompts that the daemon's policy refused.", gain(HOOKS, 'decision="deny"'), none="none", steps=("green", (1, "orange"))),
        stat("Connections refused", "Attempts to reach what the profile does not allow.", gain(EGRESS, 'result="denied"'), none="none", steps=("green", (1, "orange"))),
        stat("Model calls refused", "By the gateway: over budget, or the API is not to be had.", gain(CALLS, 'result="refused"'), none="none", steps=("green", (1, "orange"))),
        stat(
            "Most of a budget",
            "How much of its budget the live session has used that is nearest its end.",
            prometheus("max(sandboxctl_budget_used_ratio)", instant=True),
            "percentunit",
            steps=("green", (0.75, "yellow"), (0.9, "red")),
            none="no daemon",
        ),
        stat(
            "Least complete",
            "Completeness of the live session that has lost most telemetry.",
            prometheus("min(sandboxctl_completeness_ratio)", instant=True),
            "percentunit",
            decimals=1,
            steps=("red", (1, "green")),
            none="no daemon",
        ),
        stat(
            "Dark",
            "Live sessions of claude that call the model and send no telemetry.",
            prometheus("sum(max by (instance) (sandboxctl_sessions_dark))", instant=True),
            steps=("green", (1, "red")),
            none="no daemon",
        ),
    )


def refusals(it):
    it.row("Refusals")
    it.add(
        12,
        8,
        graph(
            "Hooks",
            "Answers to the client's hooks in each interval; observe only listens.",
            prometheus(own(HOOKS, "decision", window=EACH), "{{decision}}"),
            bars=True,
        ),
        graph(
            "Denials by event",
            "Which hooks denied, in each interval.",
            prometheus(own(HOOKS, "event", 'decision="deny"', EACH), "{{event}}"),
            bars=True,
            none="none denied",
        ),
        graph(
            "Egress",
            "Connections that sessions asked for, in each interval.",
            prometheus(own(EGRESS, "result", window=EACH), "{{result}}"),
            bars=True,
            none="nobody asked",
        ),
        graph(
            "Model calls",
            "At the gateway, in each interval.",
            prometheus(own(CALLS, "result", window=EACH), "{{result}}"),
            bars=True,
        ),
    )
    it.add(
        8,
        7,
        ranking("Hooks by event", "All hooks of this range, by event.", prometheus(own(HOOKS, "event"), "{{event}}", instant=True)),
        ranking("Ends by reason", "Why sessions ended; budget, disk and oom are limits at work.", prometheus(own("sandboxctl_session_ends_total", "reason"), "{{reason}}", instant=True), none="none ended"),
        ranking("Starts by outcome", "Refused by a rule or a limit, or failed.", prometheus(own("sandboxctl_session_starts_total", "result"), "{{result}}", instant=True)),
    )


def missing(it):
    it.row("Budgets and completeness")
    it.add(
        8,
        8,
        graph(
            "Budget of the session nearest its end",
            "Share that is used.",
            prometheus("max by (instance) (sandboxctl_budget_used_ratio)", "{{instance}}"),
            "percentunit",
            min=0,
            max=1,
        ),
        graph(
            "Completeness",
            "Of the least complete live session; it counts gaps in the numbers that the client gives its events.",
            prometheus("min by (instance) (sandboxctl_completeness_ratio)", "{{instance}}"),
            "percentunit",
            min=0,
            max=1,
        ),
        graph(
            "Telemetry of sessions",
            "OTLP requests in each interval: recorded, or refused since the disk takes no more.",
            prometheus(own(OTLP, "signal, result", window=EACH), "{{signal}} {{result}}"),
            bars=True,
        ),
    )


def details(it):
    refused = events("tool_decision", 'decision="reject"')
    it.row("In detail")
    it.add(
        12,
        9,
        logs(
            "Tools that were refused",
            "By a hook, a rule or a person, newest first.",
            loki(refused + " | line_format `{{.user_email}} {{.tool_name}} by {{.source}}: {{.tool_parameters}}`", lines=200),
            none="none refused",
        ),
        table(
            "Who was refused",
            "Refusals by person, tool and who refused.",
            [("Times", "short", loki(counted(refused, "user_email, tool_name, source"), instant=True))],
            {"user_email": "Person", "tool_name": "Tool", "source": "By"},
            sort="Times",
            none="none refused",
        ),
    )
    it.add(
        12,
        8,
        table(
            "Policies that loaded",
            "Starts of the client by where its managed settings came from. A source other than file would be a policy that is not ours.",
            [
                (
                    "Starts",
                    "short",
                    loki(counted(events("managed_settings_resolved"), "managed_settings_trigger, managed_settings_source_behavior, service_version"), instant=True),
                )
            ],
            {"managed_settings_trigger": "When", "managed_settings_source_behavior": "Rule", "service_version": "Client"},
            sort="Starts",
        ),
        logs(
            "Changes of mode, and safety events",
            "Where somebody changed the permission mode, or the client's own checks spoke.",
            loki(EVENTS + ' | event_name=~"permission_mode_changed|safety_event|api_refusal"', lines=100),
            none="none",
        ),
        traces_table(
            "Hooks that denied, as traces",
            "The latest sessions in which the policy refused a tool.",
            jaeger("sandboxctl", "hook PreToolUse", "hook.decision=deny", limit=20),
            "/d/sandboxctl-sessions?${__url_time_range}&var-trace=${__value.text}",
            none="none denied",
        ),
        traces_table(
            "Connections that were refused, as traces",
            "The latest sessions that asked for what their profile does not allow.",
            jaeger("sandboxctl", tags="egress.allowed=false", limit=20),
            "/d/sandboxctl-sessions?${__url_time_range}&var-trace=${__value.text}",
            none="none refused",
        ),
    )
