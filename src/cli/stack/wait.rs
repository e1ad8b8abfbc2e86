//! Waiting until parts are well, with a line for each: one that moves on a terminal, one a change elsewhere.

use std::{
    collections::BTreeMap,
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::time::sleep;

use super::{
    compose::{Compose, ComposeError},
    plan::Plan,
    ps::{self, Condition},
};
use crate::inert::inert;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// A part that is seen ending so often is not going to be well.
const FALLS: u32 = 3;
/// How much a part that is not well has said lately.
const SAID: &str = "8"; // lines

/// A part that did not become well.
#[derive(Debug)]
pub(super) struct Trouble {
    /// The part.
    pub part: String,
    /// What is wrong.
    pub found: String,
    /// The end of what it said.
    pub said: Vec<String>,
}

/// Waits until all of these parts are well; those that are not, by the end or for good, come back.
pub(super) async fn until_well(
    compose: &Compose,
    plan: &Plan,
    parts: &[String],
    patience: Duration,
) -> Result<Vec<Trouble>, ComposeError> {
    let began = Instant::now();
    let mut board = Board::new(parts);
    let mut falls: BTreeMap<&String, u32> = BTreeMap::new();
    loop {
        let containers = ps::containers(compose).await?;
        let late = began.elapsed() >= patience;
        let mut waiting = false;
        let mut wrong = Vec::new();
        for part in parts {
            let container = containers.get(part);
            let condition = plan.condition(part, container);
            let fallen = falls.entry(part).or_default();
            *fallen += u32::from(condition == Condition::Restarting);
            board.show(part, condition);
            match verdict(condition, *fallen, container.map_or(0, |c| c.exit_code)) {
                Verdict::Well => {}
                Verdict::Waiting if late => wrong.push((part, overdue(condition, patience))),
                Verdict::Waiting => waiting = true,
                Verdict::Wrong(found) => wrong.push((part, found)),
            }
        }
        // One that will not be well keeps nobody waiting for the others.
        if !waiting || !wrong.is_empty() {
            board.close();
            let mut troubles = Vec::new();
            for (part, found) in wrong {
                troubles.push(Trouble { part: part.clone(), found, said: said(compose, part).await });
            }
            return Ok(troubles);
        }
        sleep(LOOK).await;
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Well,
    Waiting,
    Wrong(String),
}

fn verdict(condition: Condition, falls: u32, exit_code: i64) -> Verdict {
    match condition {
        Condition::Healthy | Condition::Running => Verdict::Well,
        Condition::Ended => Verdict::Wrong(format!("it ended with code {exit_code}")),
        Condition::Paused => Verdict::Wrong("it is paused".to_owned()),
        // Of one that is about to start again, Compose does not know the code.
        Condition::Restarting if falls >= FALLS => Verdict::Wrong("it ends again and again".to_owned()),
        // A check may begin to fail before a slow start is over, and pass later.
        Condition::Absent | Condition::Starting | Condition::Unhealthy | Condition::Restarting => {
            Verdict::Waiting
        }
    }
}

/// What is wrong with a part that nobody waits for any more.
fn overdue(condition: Condition, patience: Duration) -> String {
    match condition {
        Condition::Unhealthy => "it runs, and its health check fails".to_owned(),
        other => format!("it is still {} after {patience:?}", other.word()),
    }
}

/// The end of what a part said.
async fn said(compose: &Compose, part: &str) -> Vec<String> {
    let args = ["--profile", "all", "logs", "--no-color", "--no-log-prefix", "--tail", SAID, part];
    let text = compose.output("reading a part's log", &args).await.unwrap_or_default();
    text.lines().map(inert).collect()
}

/// The lines.
struct Board {
    lines: Option<(MultiProgress, BTreeMap<String, ProgressBar>)>,
    shown: BTreeMap<String, Condition>,
    began: Instant,
}

impl Board {
    fn new(parts: &[String]) -> Board {
        let shown = BTreeMap::new();
        let began = Instant::now();
        if !std::io::stderr().is_terminal() {
            return Board { lines: None, shown, began };
        }
        let all = MultiProgress::new();
        let style = ProgressStyle::with_template("{spinner:.cyan} {prefix:13} {msg}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner()).tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ");
        let line = |part: &String| {
            let line =
                all.add(ProgressBar::new_spinner().with_style(style.clone()).with_prefix(part.clone()));
            line.enable_steady_tick(Duration::from_millis(120));
            (part.clone(), line)
        };
        let lines = parts.iter().map(line).collect();
        Board { lines: Some((all, lines)), shown, began }
    }

    fn show(&mut self, part: &str, condition: Condition) {
        if self.shown.insert(part.to_owned(), condition) == Some(condition) {
            return;
        }
        let words = format!("{} ({} s)", condition.word(), self.began.elapsed().as_secs());
        match &self.lines {
            None => super::note(&format!("{part}: {}", condition.word())),
            Some((_, lines)) => {
                let Some(line) = lines.get(part) else { return };
                if condition.is_well() {
                    line.set_style(plain("{prefix:.green} {msg}"));
                    line.set_prefix(format!("✓ {part:13}"));
                    line.finish_with_message(words);
                } else {
                    line.set_message(condition.word());
                }
            }
        }
    }

    /// What is not well is told below, with the reason.
    fn close(self) {
        let Some((_, lines)) = self.lines else { return };
        for (part, line) in lines {
            if !self.shown.get(&part).is_some_and(|c| c.is_well()) {
                line.set_style(plain("{prefix:.red} {msg}"));
                line.set_prefix(format!("✗ {part:13}"));
                line.abandon();
            }
        }
    }
}

fn plain(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_is_wrong_at_once_and_what_is_slow_or_falls_once_is_not() {
        let wrong = |condition, falls, code| matches!(verdict(condition, falls, code), Verdict::Wrong(_));
        assert_eq!(verdict(Condition::Healthy, 0, 0), Verdict::Well);
        assert_eq!(verdict(Condition::Running, 0, 0), Verdict::Well);
        assert_eq!(verdict(Condition::Starting, 0, 0), Verdict::Waiting);
        assert_eq!(verdict(Condition::Absent, 0, 0), Verdict::Waiting);
        assert_eq!(verdict(Condition::Restarting, 1, 1), Verdict::Waiting);
        assert!(wrong(Condition::Restarting, FALLS, 1));
        assert_eq!(verdict(Condition::Unhealthy, 0, 0), Verdict::Waiting, "it may be slow");
        assert!(overdue(Condition::Unhealthy, LOOK).contains("its health check fails"));
        assert!(overdue(Condition::Starting, LOOK).contains("still starting after 1s"));
        assert_eq!(verdict(Condition::Ended, 0, 137), Verdict::Wrong("it ended with code 137".to_owned()));
        assert!(wrong(Condition::Ended, 0, 0), "no part is meant to end, not even with 0");
    }
}
