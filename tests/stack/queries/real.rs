//! The sessions whose telemetry is asked for: the real client in containers, through the daemon and the collector.

use std::time::Duration;

use sandboxctl::{
    api::{Role, Session, StartRequest, Totals},
    lifecycle::Phase,
    spec::User,
};

use crate::common::{
    Daemon, PATIENCE, Rung,
    bundle::{Bundle, attribute_values},
    eventually,
    stack::Stack,
    stories::{ask, names},
};

/// What everybody does without typing: writes, reads, commits, opens a pull request, sends an agent, uses an MCP
/// server, summarises; is denied a push, reads what is not there, and asks for a connection that it may not have.
const WORK: &str = r#"mkdir -p bin && printf '#!/bin/sh\necho https://example.org/pull/1\n' > bin/gh && chmod +x bin/gh
export PATH=$PWD/bin:$PATH
claude -p 'Write a file'
claude -c -p 'Read the file'
claude -p --model haiku 'Commit it'
claude -p 'A pull request, please'
claude -p 'Push it'
claude -p 'Ask an agent to look around'
rm hello-from-the-demo.txt
claude -p 'Read the file'
claude -c -p '/compact'
said() { echo "{\"type\":\"user\",\"message\":{\"role\":\"user\",\"content\":\"$1\"}}"; }
(said 'What day is it'; sleep 5; said 'Use mcp__notes__add'; sleep 2) \
  | claude -p --input-format stream-json --output-format stream-json --verbose > /dev/null
curl -sS -m 2 http://example.org
true"#;

/// Sessions that were, and what queries may ask for by name.
pub struct Real {
    session: String,
    prompt: String,
    trace: String,
    ended: Vec<Session>,
    /// How often they asked for a connection; none was allowed.
    egress: f64,
}

impl Real {
    /// Lets people work, and waits until all of it is in the backends.
    pub async fn fill(stack: &Stack) -> Real {
        let daemon = Daemon::start_with(Rung::Docker, &config(stack)).await;
        let ada = User { name: "Ada Lovelace".to_owned(), email: "ada@example.org".to_owned() };
        let bob = User { name: "Bob".to_owned(), email: "bob@example.org".to_owned() };
        let works = daemon.begin(StartRequest { user: Some(ada), ..ask(&["bash", "-c", WORK]) }).await;
        let types = daemon.begin(StartRequest { user: Some(bob), ..ask(&["claude"]) }).await;
        typing(&daemon, &types).await;
        let patience = PATIENCE * 3;
        let worked = daemon.when_in(patience, &works, "the work is done", |s| s.phase == Phase::Ended).await;
        let typed = daemon.ended(&types).await;
        let bundle = daemon.export(&works).await;
        arrived(stack, &works, &types, &bundle).await;
        let timelines = [bundle.lines("events.jsonl"), daemon.export(&types).await.lines("events.jsonl")];
        let egress: usize = timelines.iter().map(|lines| names(lines, "egress").len()).sum();
        let prompt = attribute_values(&bundle.lines("telemetry/logs.jsonl").into(), "prompt.id");
        Real {
            session: works.id.to_string(),
            prompt: prompt[0]["stringValue"].as_str().expect("an id").to_owned(),
            trace: works.id.to_string().replace('-', ""),
            ended: vec![worked, typed],
            egress: egress as f64,
        }
    }

    /// Totals as the dashboards ask for them, and what they have to be.
    pub fn numbers(&self) -> Vec<(String, f64)> {
        let sum = |of: fn(&Totals) -> f64| self.ended.iter().map(|session| of(&session.totals)).sum::<f64>();
        let gained = |selector: &str| format!("sum(increase({selector}[1h] anchored))");
        vec![
            (gained("claude_code_cost_usage_USD_total"), sum(|t| t.cost_usd)),
            (
                gained("claude_code_token_usage_tokens_total{type=\"output\"}"),
                sum(|t| t.output_tokens as f64),
            ),
            (
                gained("claude_code_token_usage_tokens_total{type=\"cacheRead\"}"),
                sum(|t| t.cache_read_tokens as f64),
            ),
            (gained("claude_code_commit_count_total"), 1.0),
            (gained("claude_code_pull_request_count_total"), 1.0),
            (gained("sandboxctl_model_cost_usd_total"), sum(|t| t.gateway_cost_usd)),
            (gained("sandboxctl_hooks_total{decision=\"deny\"}"), 1.0),
            (gained("sandboxctl_egress_total{result=\"denied\"}"), self.egress),
            (gained("sandboxctl_session_starts_total{result=\"started\"}"), 2.0),
            (gained("sandboxctl_session_ends_total"), 2.0),
        ]
    }

    /// A query with Grafana's variables filled in as Grafana does it, for a board of an hour.
    pub fn filled(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, value) in [
            ("$__rate_interval", "1m"),
            ("$__interval", "1m"),
            ("$__range", "3600s"),
            ("$user", ".*"),
            ("$team", ".*"),
            ("$profile", ".*"),
            ("$model", ".*"),
            ("$session", &self.session),
            ("$prompt", &self.prompt),
            ("$trace", &self.trace),
        ] {
            text = text.replace(name, value);
        }
        let left = text
            .match_indices('$')
            .any(|(at, _)| text[at + 1..].starts_with(|c: char| c.is_alphabetic() || c == '{'));
        assert!(!left, "a variable is left in {text}");
        text
    }
}

fn config(stack: &Stack) -> String {
    format!(
        "[forward.stack]\nendpoint = \"{url}\"\n\
         [teams]\nresearch = [\"ada@example.org\"]\n[profiles.demo]\ncredential = \"demo\"\n\
         egress = [\"example.net:443\"]\n[profiles.demo.policy]\n\
         allow = [\"Bash\", \"Write\", \"mcp__notes__add\"]\ndeny_commands = [\"git push\"]\n\
         [mcp_servers.notes]\ncommand = \"python3\"\nalwaysLoad = true\n\
         args = [\"-c\", '''\n{notes}''']\n\
         [mcp_servers.broken]\ncommand = \"false\"\n",
        url = stack.otlp_url,
        notes = include_str!("../notes.py"),
    )
}

/// Somebody types a prompt, allows an edit and leaves.
async fn typing(daemon: &Daemon, session: &Session) {
    let mut screen = daemon.join(session, Role::Driver, None).await;
    screen.until_shows("shortcuts").await;
    // So slowly that it is time spent: the client counts from one key to the next.
    for letter in "Look around".chars() {
        screen.type_in(&letter.to_string()).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    screen.type_in("\r").await;
    screen.until_shows("the telemetry are real").await;
    screen.type_in("/exit\r").await;
}

/// Waits until the backends have what the bundle has.
async fn arrived(stack: &Stack, session: &Session, typed: &Session, bundle: &Bundle) {
    let logs = attribute_values(&bundle.lines("telemetry/logs.jsonl").into(), "event.sequence").len();
    let query = format!(
        r#"sum(count_over_time({{service_name="claude-code"}} | sandbox_session_id="{}" [1h]))"#,
        session.id
    );
    eventually("Loki has every record", || async {
        let now = crate::common::stack::ask::now();
        let found = stack.logql_series(&query, now, now).await;
        found.first().is_some_and(|s| s.value() >= logs as f64)
    })
    .await;
    // The daemon tells of itself every 15 s.
    let ends = "sum(sandboxctl_session_ends_total) == 2";
    for metric in
        [ends, "claude_code_pull_request_count_total", "claude_code_active_time_seconds_total{type=\"user\"}"]
    {
        eventually(&format!("Prometheus has {metric}"), || async { !stack.promql(metric).await.is_empty() })
            .await;
    }
    for session in [session, typed] {
        let id = session.id.to_string();
        eventually("Jaeger has the client's spans, and the daemon's of the whole", || async {
            let whole = stack.trace(&id.replace('-', "")).await.unwrap_or_default();
            let spans = whole["spans"].as_array().map(Vec::as_slice).unwrap_or_default();
            let root = spans.iter().any(|span| span["operationName"] == "session");
            root && !stack.traces("claude-code", &[("sandbox.session.id", &id)]).await.is_empty()
        })
        .await;
    }
}
