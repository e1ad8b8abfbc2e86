"""Overview: how much Claude Code is used, by whom, and what it costs."""

from blocks import (
    ACTIVE, COMMITS, COST, LINES, MODEL, PULLS, STARTS, TOKENS, WHO,
    Board, graph, own, prometheus, ranking, stat, table, total,
)

MODELS = 'model=~"$model"'


def board():
    it = Board(
        "sandboxctl-overview",
        "Claude Code: overview",
        "Sessions, people, cost, tokens and what came of them, over the range at the top.",
        [*WHO, MODEL],
    )
    numbers(it)
    over_time(it)
    people(it)
    return it


def numbers(it):
    def now(query):
        return prometheus(query, instant=True)

    worked, typed = total(ACTIVE, more='type="cli"'), total(ACTIVE, more='type="user"')
    written = total(TOKENS, more=f'type="output",{MODELS}')
    read = total(TOKENS, more=f'type="cacheRead",{MODELS}')
    sent = total(TOKENS, more=f'type=~"input|cacheRead|cacheCreation",{MODELS}')
    it.row("In this range")
    it.add(
        4,
        4,
        stat(
            "Sessions",
            "Times that a client began, resumed or continued (claude_code.session.count). One sandbox may hold several.",
            now(total(STARTS)),
        ),
        stat(
            "People",
            "E-mail addresses that used at least one token.",
            now(f"count({total(TOKENS, 'user_email', MODELS)} > 0)"),
        ),
        stat(
            "Cost",
            "US dollars by the client's own estimate. Cost and return shows the gateway's beside it.",
            now(total(COST, more=MODELS)),
            "currencyUSD",
        ),
        stat("Tokens", "Of all types: input, output, read from and written to the cache.", now(total(TOKENS, more=MODELS))),
        stat(
            "Cache efficiency",
            "Share of what was sent to the model that came from its cache: cacheRead / (input + cacheRead + cacheCreation).",
            now(f"{read} / ({sent} > 0)"),
            "percentunit",
            steps=("red", (0.5, "yellow"), (0.8, "green")),
        ),
        stat(
            "Cost of 1 000 output tokens",
            "Everything that was paid, divided by what the model wrote: rises when the cache is missed.",
            now(f"1000 * {total(COST, more=MODELS)} / ({written} > 0)"),
            "currencyUSD",
            decimals=3,
        ),
        stat(
            "Lines",
            "Lines that the client's edits added and removed.",
            prometheus(total(LINES, "type"), "{{type}}", instant=True),
            none="none",
        ),
        stat("Commits", "Commits that the client made for its user.", now(total(COMMITS)), none="none"),
        stat("Pull requests", "Pull requests that the client opened.", now(total(PULLS)), none="none"),
        stat(
            "Active time",
            "Seconds in which a person was at it (user), and in which the client worked (cli). Idle time is in neither.",
            prometheus(total(ACTIVE, "type"), "{{type}}", instant=True),
            "s",
        ),
        stat(
            "Productivity ratio",
            "Seconds that the client worked for each second that a person spent at it: active time cli / user. "
            "Sessions that nobody types in (claude -p) have no user time, and alone give no ratio.",
            now(f"{worked} / ({typed} > 0)"),
            "none",
            decimals=1,
            none="nobody typed",
        ),
        stat(
            "Sandboxes alive",
            "Sessions of all daemons that are starting, running or stopping; spares are not among them.",
            now('sum(max by (instance, phase) (sandboxctl_sessions{phase!="spare"}))'),
            none="no daemon",
        ),
    )


def over_time(it):
    each = "$__interval"
    it.row("Over time")
    it.add(
        12,
        8,
        graph(
            "Cost by model",
            "US dollars in each interval, by the client's estimate.",
            prometheus(total(COST, "model", MODELS, each), "{{model}}"),
            "currencyUSD",
            bars=True,
        ),
        graph(
            "Tokens by type",
            "Tokens in each interval. Reading from the cache costs about a tenth of fresh input.",
            prometheus(total(TOKENS, "type", MODELS, each), "{{type}}"),
            bars=True,
        ),
        graph(
            "Sessions",
            "Clients that began in each interval, by how: fresh, resume, continue.",
            prometheus(total(STARTS, "start_type", window=each), "{{start_type}}"),
            bars=True,
        ),
        graph(
            "Active time",
            "Seconds in each interval: of people (user) and of the client (cli).",
            prometheus(total(ACTIVE, "type", window=each), "{{type}}"),
            "s",
            bars=True,
        ),
        graph(
            "Lines",
            "Lines added and removed in each interval.",
            prometheus(total(LINES, "type", window=each), "{{type}}"),
            bars=True,
        ),
        graph(
            "Sandboxes alive",
            "Sessions of all daemons, by phase; spares are containers kept warm.",
            prometheus("sum by (phase) (max by (instance, phase) (sandboxctl_sessions))", "{{phase}}"),
            stacked=True,
        ),
    )


def people(it):
    def column(metric, more=""):
        return prometheus(total(metric, "user_email", more), table=True)

    it.row("Who")
    it.add(
        16,
        10,
        table(
            "People",
            "What each person used and made in this range.",
            [
                ("Cost", "currencyUSD", column(COST, MODELS)),
                ("Tokens", "short", column(TOKENS, MODELS)),
                ("Sessions", "short", column(STARTS)),
                ("Lines", "short", column(LINES)),
                ("Commits", "short", column(COMMITS)),
                ("Pull requests", "short", column(PULLS)),
                ("Active", "s", column(ACTIVE)),
            ],
            {"user_email": "Person"},
            sort="Cost",
        ),
    )
    it.add(
        8,
        10,
        ranking(
            "Sandboxes by outcome of their start",
            "Sessions that people asked the daemon for: started, refused (a limit or a rule), failed (the engine).",
            prometheus(own("sandboxctl_session_starts_total", "result"), "{{result}}", instant=True),
        ),
    )
