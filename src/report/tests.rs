use jiff::civil::date as day;

use super::*;
use crate::{
    api::{Report, ReportGroup},
    summary::{Of, Row, ToolUse, Use, Used, Work},
};

fn ask(by: &str, since: Option<&str>, until: Option<&str>) -> Result<Question, AskError> {
    Question::new(by, since, until, day(2026, 8, 31))
}

fn payer() -> Payer {
    Payer { email: "ada@example.org".to_owned(), team: Some("lab".to_owned()), profile: "demo".to_owned() }
}

fn rows(at: u32) -> Vec<Row> {
    let used = Use { calls: 2, input_tokens: 10, output_tokens: 20, cost_usd: 0.5, ..Use::default() };
    let both = Use { calls: 4, input_tokens: 20, output_tokens: 40, cost_usd: 1.0, ..Use::default() };
    let seen = Use { calls: 3, cost_usd: 0.75, ..Use::default() };
    let work = Work { turns: 4, lines_added: 7.0, active_s: 90.0, ..Work::default() };
    let tool = ToolUse { calls: 5, failures: 1, duration_ms: 2500 };
    let row = |of, used| Row { day: at, of, used };
    let all = Used { work, client: both, gateway: seen.clone(), tool: tool.clone() };
    let opus = Used { client: used.clone(), gateway: seen, ..Used::default() };
    vec![
        row(Of::Session, all),
        row(Of::Model("opus".to_owned()), opus),
        row(Of::Model("=haiku".to_owned()), Used { client: used, ..Used::default() }),
        row(Of::Tool("<b>Bash".to_owned()), Used { tool, ..Used::default() }),
    ]
}

fn report(by: &str) -> Report {
    let question = ask(by, Some("7d"), None).expect("a question");
    let used = rows(epoch_day(day(2026, 8, 30)));
    let groups = add_up(&question, &payer(), &used);
    let total = total(groups.values(), 1);
    Report {
        rows: lines(&question, groups),
        total: line(&question, ReportGroup::default(), &total),
        by: question.by.clone(),
        since: question.since,
        until: question.until,
        made_at: jiff::Timestamp::UNIX_EPOCH,
    }
}

#[test]
fn days_are_dates_or_so_long_ago() {
    let question = ask("user", Some("7d"), Some("2026-08-30")).expect("a question");
    assert_eq!((question.since, question.until), (Some(day(2026, 8, 24)), day(2026, 8, 30)));
    assert_eq!(ask("user", Some("2w"), None).expect("a question").since, Some(day(2026, 8, 17)));
    assert_eq!(ask("user", None, None).expect("a question").span(), (0, 20_696));
    for wrong in
        ["", "7", "d", "-1d", "+1d", "10000d", "2026-02-30", "2026-08-31T00:00", "20260831", "7 d", "ä"]
    {
        assert!(
            matches!(ask("user", Some(wrong), None), Err(AskError::Day { field: "since", .. })),
            "{wrong}"
        );
    }
    assert!(matches!(ask("user", Some("1d"), Some("2d")), Err(AskError::Backwards { .. })));
}

#[test]
fn what_is_nothing_to_add_up_by_is_refused_by_its_name() {
    assert_eq!(parse_by("user, day,user"), Ok(vec![By::User, By::Day]));
    assert_eq!(parse_by("User").map_err(|e| e.field()), Err("by"));
    assert!(parse_by("").is_err());
    assert_eq!(parse_by("model,tool"), Err(AskError::ModelAndTool));
}

#[test]
fn weeks_begin_on_monday_and_days_come_back_as_they_were() {
    for n in [0, 4, 5, 19_000, 20_696, 30_000] {
        assert_eq!(epoch_day(date(n)), n);
        assert_eq!(date(monday(n).max(4)).weekday(), jiff::civil::Weekday::Monday, "{n}");
        assert!(monday(n) <= n && n - monday(n) < 7);
    }
}

#[test]
fn a_report_tells_of_its_groups_what_can_be_told() {
    let by_user = report("user,team,month");
    let [row] = &by_user.rows[..] else { panic!("{by_user:?}") };
    assert_eq!(row.group.month.as_deref(), Some("2026-08"));
    let (work, models, tools) =
        (row.work.expect("work"), row.models.expect("models"), row.tools.expect("tools"));
    assert_eq!((work.turns, work.lines_added, work.active_s), (4, 7, 90));
    assert_eq!((models.calls, models.gateway_calls, models.output_tokens), (4, 3, 40));
    assert_eq!((models.cost_usd, models.gateway_cost_usd, tools.failures), (1.0, 0.75, 1));
    let by_model = report("model");
    let names: Vec<_> = by_model.rows.iter().map(|row| row.group.model.clone().unwrap_or_default()).collect();
    assert_eq!(names, ["opus", "=haiku"], "the dearer first");
    assert!(by_model.rows.iter().all(|row| row.work.is_none() && row.tools.is_none() && row.sessions == 1));
    assert_eq!(by_model.total.sessions, 1, "one session, whatever models it used");
    let by_tool = report("tool");
    assert_eq!(by_tool.rows[0].tools.map(|t| t.duration_ms), Some(2500));
    assert!(by_tool.total.models.is_none());
}

#[test]
fn what_lies_outside_the_days_does_not_count() {
    let question = ask("user", Some("2026-08-01"), Some("2026-08-31")).expect("a question");
    for (day, counts) in [((2026, 7, 31), 0), ((2026, 8, 1), 1), ((2026, 8, 31), 1), ((2026, 9, 1), 0)] {
        let at = epoch_day(jiff::civil::date(day.0, day.1, day.2));
        assert_eq!(add_up(&question, &payer(), &rows(at)).len(), counts, "{day:?}");
    }
}

#[test]
fn csv_has_a_head_exact_figures_and_no_formulas() {
    let text = text::csv(&report("model,day"));
    let lines: Vec<&str> = text.split("\r\n").collect();
    assert_eq!(lines.len(), 4, "a head, two rows, an end: {text}");
    assert!(lines[0].starts_with("model,day,sessions,cost_usd,gateway_cost_usd,model_calls,"));
    assert!(lines[1].starts_with("\"opus\",\"2026-08-30\",1,0.500000,0.750000,2,3,10,20,"), "{text}");
    assert!(lines[2].starts_with("\"'=haiku\","), "{text}");
}

#[test]
fn no_name_is_a_formula_in_whatever_spreadsheet() {
    for (name, field) in [
        ("x;=cmd|' /C calc'!A0", "\"x;=cmd|' /C calc'!A0\""),
        ("say \"x\";=1", "\"say \"\"x\"\";=1\""),
        ("＝1+1", "\"'＝1+1\""),
        ("@SUM(1)", "\"'@SUM(1)\""),
        ("－1", "\"'－1\""),
        ("a=b", "\"a=b\""),
    ] {
        let mut report = report("model");
        report.rows[0].group.model = Some(name.to_owned());
        let text = text::csv(&report);
        assert!(text.lines().any(|line| line.starts_with(&format!("{field},1,"))), "{name}: {text}");
    }
}

#[test]
fn what_people_call_things_is_no_markup_anywhere() {
    let markdown = text::markdown(&report("tool"));
    assert!(markdown.contains("| \\<b\\>Bash | 1 | 5 | 1 | 2s |"), "{markdown}");
    assert!(markdown.contains("| **total** | **1** | **5** |"), "{markdown}");
    for (name, cell) in [
        ("mcp__x", "mcp\\_\\_x"),
        ("https://evil.example/a_b", "`https://evil.example/a_b`"),
        ("www.evil.example", "`www.evil.example`"),
        ("a`b.c", "`` a`b.c ``"),
        ("[x](http://e)|`", "`[x](http://e)`\\|`` ` ``"),
    ] {
        let mut report = report("tool");
        report.rows[0].group.tool = Some(name.to_owned());
        let markdown = text::markdown(&report);
        assert!(markdown.contains(&format!("| {cell} | 1 | 5 |")), "{name}: {markdown}");
    }
    let user = text::markdown(&report("user"));
    assert!(user.contains("| `ada@example.org` | 1 | 4 | $1.00 |"), "{user}");
    let page = html::page(&report("tool"), &report("day"));
    assert!(page.contains("&lt;b&gt;Bash") && !page.contains("<b>"), "{page}");
}

#[test]
fn the_page_needs_nothing_else_and_has_its_charts() {
    let page = html::page(&report("user,model"), &report("day"));
    for no in ["<script", "src=", "href=", "@import", "url(", "http://", "https://"] {
        assert!(!page.contains(no), "{no}");
    }
    assert!(page.contains("prefers-color-scheme: dark") && page.contains("width=device-width"));
    assert_eq!(page.matches("<svg role=\"img\"").count(), 2);
    // The dearest group's bar is as long as there is room; the other costs two thirds of its gateway's.
    assert!(page.contains("class=\"gateway\" x=\"0\" y=\"30\" width=\"100.00%\""), "{page}");
    assert!(page.contains("class=\"client\" x=\"0\" y=\"20\" width=\"66.67%\""), "{page}");
    // Days without any use are there too: nine, of which one costs.
    assert_eq!(page.matches("<g><title>2026-08-").count(), 8, "{page}");
    let open = page.matches("<svg").count();
    assert_eq!(open, page.matches("</svg>").count());
}

#[test]
fn numbers_read_well() {
    for (n, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
        assert_eq!(text::grouped(n), text);
    }
    assert_eq!(
        (text::usd(0.0), text::usd(0.0042), text::usd(12.345)),
        ("$0.00".into(), "$0.0042".into(), "$12.35".into())
    );
}

#[test]
fn made_up_amounts_stay_numbers() {
    let question = ask("user", None, None).expect("a question");
    let mut sums = Sums::default();
    sums.amounts[..6].fill(-5.0);
    sums.amounts[6..].fill(f64::INFINITY);
    let row = line(&question, ReportGroup::default(), &sums);
    assert_eq!(row.models.map(|m| (m.cost_usd, m.input_tokens)), Some((f64::MAX, u64::MAX)));
    assert_eq!(row.work.map(|w| w.turns), Some(0));
}
