-- What sessions used, for reports and bills: counts and names, nothing that was said. It stays when a session's
-- record is removed. Days are UTC, since the Unix epoch.

CREATE TABLE payers (
    session TEXT PRIMARY KEY,
    email   TEXT NOT NULL,
    team    TEXT,
    profile TEXT NOT NULL
) STRICT;

-- The rows of each kind add up to the whole by themselves, so a report reads one of them.
CREATE TABLE usage (
    kind                  TEXT NOT NULL,   -- session, model, tool
    session               TEXT NOT NULL,
    name                  TEXT NOT NULL,   -- of the model or the tool
    day                   INTEGER NOT NULL,
    turns                 REAL NOT NULL,
    lines_added           REAL NOT NULL,
    lines_removed         REAL NOT NULL,
    commits               REAL NOT NULL,
    pull_requests         REAL NOT NULL,
    active_s              REAL NOT NULL,
    calls                 REAL NOT NULL,
    input_tokens          REAL NOT NULL,
    output_tokens         REAL NOT NULL,
    cache_read_tokens     REAL NOT NULL,
    cache_creation_tokens REAL NOT NULL,
    cost_usd              REAL NOT NULL,
    gateway_calls         REAL NOT NULL,
    gateway_cost_usd      REAL NOT NULL,
    tools                 REAL NOT NULL,
    tool_failures         REAL NOT NULL,
    tool_ms               REAL NOT NULL,
    PRIMARY KEY (kind, session, name, day)
) STRICT, WITHOUT ROWID;
