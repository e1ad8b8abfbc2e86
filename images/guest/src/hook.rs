//! `sandbox-guest hook`: the command that Claude Code runs to ask whether it may.
//!
//! The question comes on stdin, goes to the daemon through 127.0.0.1:8080, and the answer becomes an exit
//! code: 0 goes ahead, 2 blocks, with the reason on stderr. A hook that crashes or times out would let the
//! tool run, so here everything that is not an answer is a refusal, well before the client's own patience
//! ends. `--observe` only tells the daemon, and never blocks.

use std::{
    io::{self, Read, Write},
    process::ExitCode,
    sync::mpsc::sync_channel,
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::http::{self, Response};

/// For the whole exchange.
const BUDGET: Duration = Duration::from_secs(10);

/// The longest question.
const QUESTION: u64 = 16 << 20; // bytes

/// Where the daemon's gateway is, inside.
const PORT: u16 = 8080;

/// The exit code that blocks.
const BLOCK: u8 = 2;

/// What the answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It decides.
    Decide,
    /// Nothing depends on it.
    Observe,
}

/// What Claude Code is told.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Go ahead; if there is output, it is printed.
    Allow(Option<String>),
    /// Do not, for this reason.
    Deny(String),
}

/// The verb.
pub fn run(mode: Mode) -> ExitCode {
    let (tell, answer) = sync_channel(1);
    // A thread, so that no step of it can outlast the budget.
    thread::spawn(move || tell.send(ask()));
    let verdict = match answer.recv_timeout(BUDGET) {
        Ok(Ok(response)) => judge(&response),
        Ok(Err(sentence)) => Verdict::Deny(sentence),
        Err(_) => Verdict::Deny("the sandbox's policy did not answer within 10 seconds".to_owned()),
    };
    match verdict {
        Verdict::Allow(output) => {
            let printed = writeln_if(output);
            if printed.is_err() && mode == Mode::Decide { ExitCode::from(BLOCK) } else { ExitCode::SUCCESS }
        }
        Verdict::Deny(_) if mode == Mode::Observe => ExitCode::SUCCESS,
        Verdict::Deny(reason) => {
            // The exit code blocks even if nobody reads why.
            writeln!(io::stderr(), "{reason}").unwrap_or_default();
            ExitCode::from(BLOCK)
        }
    }
}

fn ask() -> Result<Response, String> {
    let mut question = Vec::new();
    let read = io::stdin().lock().take(QUESTION).read_to_end(&mut question);
    read.map_err(|e| format!("the hook's question cannot be read: {e}"))?;
    http::post(PORT, "/hooks", "application/json", &question, BUDGET)
        .map_err(|e| format!("the sandbox's policy cannot be asked: {e}"))
}

fn judge(response: &Response) -> Verdict {
    let answer: Option<Value> = serde_json::from_slice(&response.body).ok();
    let Some(answer) = answer.filter(|a| response.status == 200 && a.is_object()) else {
        return Verdict::Deny(format!("the sandbox's policy gave no answer (status {})", response.status));
    };
    let output = answer.get("output").filter(|o| o.is_object()).map(Value::to_string);
    // A refusal stands, whatever else is in the answer.
    match (answer.get("decision").and_then(Value::as_str), output) {
        (Some("deny"), _) => {
            let reason = answer.get("reason").and_then(Value::as_str);
            Verdict::Deny(reason.unwrap_or("the sandbox's policy does not allow this").to_owned())
        }
        (Some("allow"), output) => Verdict::Allow(output),
        (None, Some(output)) => Verdict::Allow(Some(output)),
        _ => Verdict::Deny("the sandbox's policy gave an answer that this version cannot read".to_owned()),
    }
}

fn writeln_if(output: Option<String>) -> io::Result<()> {
    output.map_or(Ok(()), |text| writeln!(io::stdout(), "{text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, body: &str) -> Verdict {
        judge(&Response::new(status, "application/json", body.as_bytes()))
    }

    #[test]
    fn only_an_answer_allows() {
        assert_eq!(judged(200, r#"{"decision":"allow"}"#), Verdict::Allow(None));
        let printed = Verdict::Allow(Some(r#"{"continue":true}"#.to_owned()));
        assert_eq!(judged(200, r#"{"output":{"continue":true}}"#), printed);
        assert_eq!(judged(200, r#"{"decision":"allow","output":{"continue":true}}"#), printed);
        let deny = r#"{"decision":"deny","reason":"no pushing","output":{}}"#;
        assert_eq!(judged(200, deny), Verdict::Deny("no pushing".to_owned()));
        for (status, body) in [
            (200, ""),
            (200, "{}"),
            (200, "[]"),
            (200, r#"{"decision":"maybe","output":{}}"#),
            (200, r#"{"output":"text"}"#),
            (500, r#"{"decision":"allow"}"#),
            (204, r#"{"decision":"allow"}"#),
        ] {
            assert!(matches!(judged(status, body), Verdict::Deny(_)), "{status} {body}");
        }
    }
}
