-- Times are µs since the Unix epoch. Secrets are here as SHA-256 only.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE sessions (
    id         TEXT PRIMARY KEY,
    email      TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    ended_at   INTEGER,
    volume     TEXT NOT NULL,
    spec       TEXT NOT NULL,   -- JSON, never changed
    view       TEXT NOT NULL    -- JSON, the session as last seen
) STRICT;
CREATE INDEX sessions_live ON sessions (email) WHERE ended_at IS NULL;
CREATE INDEX sessions_created ON sessions (created_at);

CREATE TABLE workspaces (
    name    TEXT NOT NULL,
    email   TEXT NOT NULL,
    volume  TEXT NOT NULL UNIQUE,
    session TEXT REFERENCES sessions (id) ON DELETE SET NULL,
    PRIMARY KEY (email, name)
) STRICT;

CREATE TABLE invites (
    hash       TEXT PRIMARY KEY,
    profile    TEXT NOT NULL,
    uses       INTEGER NOT NULL CHECK (uses >= 0),
    expires_at INTEGER NOT NULL
) STRICT;

CREATE TABLE seats (
    hash    TEXT PRIMARY KEY,
    session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE
) STRICT;

CREATE TABLE logins (
    hash       TEXT PRIMARY KEY,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE TABLE cursors (
    destination TEXT NOT NULL,
    session     TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    seq         INTEGER NOT NULL,
    PRIMARY KEY (destination, session)
) STRICT;
