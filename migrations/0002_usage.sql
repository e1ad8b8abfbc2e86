-- What sessions used, for reports and bills: counts and names, nothing that was said. It stays when a session's
-- record is removed. Days are UTC, since the Unix epoch.

CREATE TABLE payers (
    session TEXT PRIMARY KEY,
    email   TEXT NOT NULL,
    team    TEXT,
    profile TEXT NOT NULL
) STRICT;

CREATE TABLE usage (
    session               TEXT NOT NULL REFERENCES payers (session) ON DELETE CASCADE,
    day                   INTEGER NOT NULL,
    kind                  TEXT NOT NULL,   -- session, model, tool
    name                  TEXT NOT NULL,   -- of the model or the tool
    turns                 REAL NOT NULL DEFAULT 0,
    lines_added           REAL NOT NULL DEFAULT 0,
    lines_removed         REAL NOT NULL DEFAULT 0,
    commits               REAL NOT NULL DEFAULT 0,
    pull_requests         REAL NOT NULL DEFAULT 0,
    active_s              REAL NOT NULL DEFAULT 0,
    calls                 REAL NOT NULL DEFAULT 0,
    input_tokens          REAL NOT NULL DEFAULT 0,
    output_tokens         REAL NOT NULL DEFAULT 0,
    cache_read_tokens     REAL NOT NULL DEFAULT 0,
    cache_creation_tokens REAL NOT NULL DEFAULT 0,
    cost_usd              REAL NOT NULL DEFAULT 0,
    gateway_calls         REAL NOT NULL DEFAULT 0,
    gateway_cost_usd      REAL NOT NULL DEFAULT 0,
    failures              REAL NOT NULL DEFAULT 0,
    duration_ms           REAL NOT NULL DEFAULT 0,
    PRIMARY KEY (session, day, kind, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_day ON usage (day);
