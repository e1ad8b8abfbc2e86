//! What is kept adds up to the same as what the rules make of the rows.

use std::collections::BTreeMap;

use super::*;
use crate::{
    report::{self, Payer, Question, Sums},
    summary::{Of, Row, ToolUse, Use, Used, Work},
};

/// Rows of a session: a few days, models and tools, by a number.
fn rows(n: u32) -> Vec<Row> {
    let mut rows = Vec::new();
    for day in (0..3).map(|d| 20_600 + (n * 7 + d * 11) % 60) {
        if rows.iter().any(|row: &Row| row.day == day) {
            continue;
        }
        let work = Work { turns: n.into(), commits: f64::from(n % 3), active_s: 0.5, ..Work::default() };
        let mut all = Used { work, ..Used::default() };
        let mut parts = Vec::new();
        for model in 0..n % 3 {
            let client = Use { calls: 1, input_tokens: u64::from(n) << 20, cost_usd: 0.25, ..Use::default() };
            let gateway = Use { calls: u64::from(model), cost_usd: f64::from(n), ..Use::default() };
            all.client.add(&client);
            all.gateway.add(&gateway);
            let used = Used { client, gateway, ..Used::default() };
            parts.push(Row { day, of: Of::Model(format!("model-{model}")), used });
        }
        for tool in 0..n % 4 {
            let of = Of::Tool(format!("tool-{tool}"));
            let tool = ToolUse { calls: 2, failures: u64::from(n % 2), duration_ms: 10 };
            all.tool.add(&tool);
            parts.push(Row { day, of, used: Used { tool, ..Used::default() } });
        }
        rows.push(Row { day, of: Of::Session, used: all });
        rows.append(&mut parts);
    }
    rows
}

async fn kept(store: &Store) -> Vec<(Session, Vec<Row>)> {
    let mut all = Vec::new();
    for n in 0..40 {
        let (mut view, spec) = session(&format!("user-{}@example.org", n % 7));
        view.team = (n % 3 > 0).then(|| format!("team-{}", n % 3));
        view.profile = format!("profile-{}", n % 2);
        put(store, &view, &spec, &format!("v{n}")).await;
        view.ended_at = Some(view.created_at);
        let used = rows(n);
        store.set_ended(&view, Some(&used)).await.expect("stored");
        all.push((view, used));
    }
    all
}

#[tokio::test]
async fn sums_are_those_of_the_rows_by_whatever_is_asked() {
    let (_dir, store) = store().await;
    let all = kept(&store).await;
    let today = jiff::civil::date(2026, 8, 31);
    let asked = [
        "user",
        "team",
        "profile",
        "model",
        "tool",
        "day",
        "week",
        "month",
        "user,model",
        "team,tool,week",
        "user,team,profile,day",
        "model,month",
    ];
    for by in asked {
        for since in [None, Some("2026-06-01")] {
            let question = Question::new(by, since, Some("2026-07-05"), today).expect("a question");
            let without: Vec<_> = all.iter().take(5).map(|(view, _)| view.id).collect();
            let mut expected: BTreeMap<_, Sums> = BTreeMap::new();
            let mut sessions = 0;
            for (view, rows) in all.iter().skip(5) {
                let used = report::add_up(&question, &Payer::of(view), rows);
                sessions += u64::from(!used.is_empty());
                for (group, sums) in used {
                    expected.entry(group).or_default().add(&sums);
                }
            }
            let found = store.usage(&question, &without).await.expect("sums");
            assert!(!found.0.is_empty());
            assert_eq!(found, (expected, sessions), "by {by}, since {since:?}");
        }
    }
}

#[tokio::test]
async fn what_was_used_outlives_the_record_and_is_asked_for_where_it_is_missing() {
    let (_dir, store) = store().await;
    let (mut view, spec) = session("ada@example.org");
    put(&store, &view, &spec, "v").await;
    assert!(store.without_usage().await.expect("ids").is_empty(), "it lives");
    view.ended_at = Some(view.created_at);
    store.set_ended(&view, None).await.expect("stored");
    assert_eq!(store.without_usage().await.expect("ids"), [view.id]);
    for _ in 0..2 {
        store.keep_usage(&view, &rows(2)).await.expect("kept");
    }
    assert!(store.without_usage().await.expect("ids").is_empty());
    let question = Question::new("user", None, None, jiff::civil::date(2026, 8, 31)).expect("a question");
    let before = store.usage(&question, &[]).await.expect("sums");
    assert_eq!(before.0.values().map(|sums| sums.amounts[0]).sum::<f64>(), 6.0, "twice kept is once");
    store.delete(view.id).await.expect("deleted");
    assert_eq!(store.usage(&question, &[]).await.expect("sums"), before);
}
