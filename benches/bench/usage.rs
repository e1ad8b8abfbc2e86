//! `sandboxctl report` over ten thousand sessions, as a user runs it.

use std::time::{Duration, Instant};

use anyhow::ensure;
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{
    Options,
    common::{Daemon, Rung},
    report::{Bound, Report, Row},
};

/// Sessions on record.
const SESSIONS: u32 = 10_000;
/// What each used on each of two days: itself, three models, ten tools; of a hundred people over a year.
const FILL: &str = "
    WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n + 1 < ?1)
    INSERT INTO payers SELECT printf('%08x-0000-7000-8000-000000000000', n),
        'user' || (n % 100) || '@example.org', 'team' || (n % 7), 'profile' || (n % 3) FROM n;
    WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n + 1 < ?1)
    INSERT INTO sessions SELECT printf('%08x-0000-7000-8000-000000000000', n), 'u', n, n, 'v', '{}', '{}' FROM n;
    WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n + 1 < ?1),
        day (day) AS (VALUES (0), (1)),
        what (kind, name) AS (VALUES ('session', ''), ('model', 'opus'), ('model', 'sonnet'), ('model', 'haiku'),
            ('tool', 'Bash'), ('tool', 'Read'), ('tool', 'Edit'), ('tool', 'Write'), ('tool', 'Grep'),
            ('tool', 'Glob'), ('tool', 'Task'), ('tool', 'WebFetch'), ('tool', 'TodoWrite'), ('tool', 'mcp__a__b'))
    INSERT INTO usage SELECT kind, printf('%08x-0000-7000-8000-000000000000', n), name, 20300 + n % 365 + day,
        5, 0, 0, 1, 0, 60, 7, 1000, 200, 90000, 9000, 0.25, 7, 0.26, 30, 1, 4000
    FROM n, day, what;";

/// Rows: the whole of it by what people ask, from the command line to its answer.
pub async fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let mut daemon = Daemon::start(Rung::Local).await;
    daemon.terminate();
    let options_of = SqliteConnectOptions::new()
        .filename(daemon.state().join("sandboxctl.db"))
        .busy_timeout(Duration::from_secs(10));
    let mut database = SqliteConnection::connect_with(&options_of).await?;
    for statement in FILL.split_inclusive(';').filter(|text| text.contains("INSERT")) {
        sqlx::query(statement).bind(SESSIONS).execute(&mut database).await?;
    }
    database.close().await?;
    daemon.restart().await;
    for by in ["user", "user,model", "team,month", "tool", "user,day"] {
        let mut seconds = Vec::new();
        for _ in 0..options.pairs {
            let began = Instant::now();
            let args =
                ["report", "--since", "1970-01-01", "--until", "2100-01-01", "--by", by, "--format", "csv"];
            let out = daemon.cli(&args).output()?;
            seconds.push(began.elapsed().as_secs_f64());
            ensure!(
                out.status.success() && out.stdout.len() > 200,
                "{}",
                String::from_utf8_lossy(&out.stderr)
            );
        }
        report.add(Row::alone(
            &format!("report of 10 000 sessions by {by}"),
            "s",
            seconds,
            Bound::AtMost(1.0),
        ));
    }
    Ok(())
}
