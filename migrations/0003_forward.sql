-- Sums of metrics over sessions, by destination, and what has been added to them of each session that is not over.
-- Both are JSON that the forwarder writes together with its cursors.

CREATE TABLE forward_series (
    destination TEXT NOT NULL,
    series      TEXT NOT NULL,
    state       TEXT NOT NULL,
    PRIMARY KEY (destination, series)
) STRICT, WITHOUT ROWID;

CREATE TABLE forward_parts (
    destination TEXT NOT NULL,
    session     TEXT NOT NULL,
    state       TEXT NOT NULL,
    PRIMARY KEY (destination, session)
) STRICT, WITHOUT ROWID;
