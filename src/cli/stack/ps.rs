//! `compose ps`: how each part is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::compose::{Compose, ComposeError};

/// How a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Condition {
    /// It has no container, or one that was never started.
    Absent,
    /// It runs, and its check has not decided yet.
    Starting,
    /// It runs, and its check says that it is well.
    Healthy,
    /// It runs, and nothing checks it.
    Running,
    /// It runs, and its check says that it is not well.
    Unhealthy,
    /// It ended, and the engine is about to start it again.
    Restarting,
    /// Somebody holds it.
    Paused,
    /// It ended.
    Ended,
}

impl Condition {
    /// As good as it gets.
    pub(super) fn is_well(self) -> bool {
        matches!(self, Condition::Healthy | Condition::Running)
    }

    /// For people.
    pub(super) fn word(self) -> &'static str {
        match self {
            Condition::Absent => "not started",
            Condition::Starting => "starting",
            Condition::Healthy => "healthy",
            Condition::Running => "running",
            Condition::Unhealthy => "unhealthy",
            Condition::Restarting => "restarting",
            Condition::Paused => "paused",
            Condition::Ended => "ended",
        }
    }
}

/// A part's container.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Container {
    /// The part.
    service: String,
    /// The container's name in the engine.
    pub name: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    health: String,
    /// Exit code, where it has ended.
    #[serde(default)]
    pub exit_code: i64,
}

impl Container {
    /// Whether it runs, well or not.
    pub(super) fn is_up(&self) -> bool {
        !matches!(self.condition(), Condition::Absent | Condition::Ended)
    }

    /// How it is.
    pub(super) fn condition(&self) -> Condition {
        match (self.state.as_str(), self.health.as_str()) {
            ("running", "healthy") => Condition::Healthy,
            ("running", "unhealthy") => Condition::Unhealthy,
            ("running", "starting") => Condition::Starting,
            ("running", _) => Condition::Running,
            ("restarting", _) => Condition::Restarting,
            ("paused", _) => Condition::Paused,
            ("created" | "", _) => Condition::Absent,
            _ => Condition::Ended,
        }
    }
}

/// The parts' containers, by part.
pub(super) async fn containers(compose: &Compose) -> Result<BTreeMap<String, Container>, ComposeError> {
    let doing = "asking Compose for the parts";
    let args = ["--profile", "all", "ps", "--all", "--format", "json"];
    let text = compose.output(doing, &args).await?;
    let found = parse(&text).map_err(|error| ComposeError::Failed {
        doing: doing.to_owned(),
        said: format!("its answer makes no sense: {error}"),
        remedy: "install a newer Docker Compose".to_owned(),
    })?;
    Ok(found.into_iter().map(|c| (c.service.clone(), c)).collect())
}

/// An array, as Compose wrote it until 2.20, or an object a line.
fn parse(text: &str) -> serde_json::Result<Vec<Container>> {
    let mut found = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<serde_json::Value>() {
        match value? {
            serde_json::Value::Array(many) => {
                for one in many {
                    found.push(serde_json::from_value(one)?);
                }
            }
            one => found.push(serde_json::from_value(one)?),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#"{"ID":"a","Name":"sandboxctl-stack-loki-1","Image":"x","Command":"\"/x\"","Service":"loki",
        "State":"running","Health":"healthy","ExitCode":0,"Publishers":[{"URL":"127.0.0.1","TargetPort":3100}]}"#;
    const TWO: &str = r#"{"Name":"sandboxctl-stack-grafana-1","Service":"grafana","State":"exited","Health":"","ExitCode":137}"#;

    #[test]
    fn both_forms_are_read() {
        let line = |text: &str| text.split_whitespace().collect::<String>();
        let lines = format!("{}\n{}\n", line(ONE), line(TWO));
        for text in [format!("[{ONE},{TWO}]"), lines] {
            let found = parse(&text).expect("containers");
            let shown: Vec<_> =
                found.iter().map(|c| (c.service.as_str(), c.condition(), c.exit_code)).collect();
            assert_eq!(shown, [("loki", Condition::Healthy, 0), ("grafana", Condition::Ended, 137)]);
        }
        for empty in ["", "\n", "[]", "[]\n"] {
            assert_eq!(parse(empty).expect("none"), []);
        }
        for wrong in ["no JSON", "{\"Name\":1}", "[{}]", "[1", "{\"Service\":\"x\",\"Name\":\"y\"} trailing"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn conditions_follow_state_and_health() {
        for (state, health, expected) in [
            ("running", "", Condition::Running),
            ("running", "starting", Condition::Starting),
            ("running", "unhealthy", Condition::Unhealthy),
            ("restarting", "", Condition::Restarting),
            ("created", "", Condition::Absent),
            ("paused", "", Condition::Paused),
            ("dead", "", Condition::Ended),
        ] {
            let container = Container {
                service: "x".to_owned(),
                name: "x".to_owned(),
                state: state.to_owned(),
                health: health.to_owned(),
                exit_code: 0,
            };
            assert_eq!(container.condition(), expected, "{state} {health}");
        }
    }
}
