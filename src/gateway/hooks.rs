//! Policy hooks: `POST /hooks` with what Claude Code gives its hooks, answered with a decision.
//!
//! `sandbox-guest hook` asks on behalf of every hook of every session, and turns `deny` into exit code 2,
//! which no setting of the user's can override. The rule is that silence denies: what cannot be read, judged
//! or recorded is denied, with the reason.

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Context, Doors, otlp::http::read};
use crate::{
    event::Hook,
    journal::{JournalError, Kind},
    policy::{Decision, Question},
};

/// The longest question, in bytes: a tool's whole input and output stand in it.
const BODY_LIMIT: usize = 8 << 20;

/// The route.
pub fn router() -> Router<Arc<Context>> {
    Router::new().route("/hooks", post(ask))
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "decision")]
pub enum Answer {
    /// Go on.
    Allow,
    /// Do not.
    Deny {
        /// Why: Claude Code shows it to the model.
        reason: String,
    },
}

async fn ask(
    State(ctx): State<Arc<Context>>,
    Extension(doors): Extension<Arc<Doors>>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(_place) = doors.intake.acquire().await else {
        return deny(StatusCode::SERVICE_UNAVAILABLE, "the session ends");
    };
    let body = match read(&parts.headers, body, BODY_LIMIT).await {
        Ok(body) => body,
        Err(_) => {
            return deny(StatusCode::PAYLOAD_TOO_LARGE, "the hook's input is too long, or did not arrive");
        }
    };
    let Ok(input @ Value::Object(_)) = serde_json::from_slice::<Value>(&body) else {
        return deny(StatusCode::BAD_REQUEST, "the hook's input is not a JSON object");
    };
    drop(body);
    let (hook, answer) = judge(&ctx, input);
    match record(&ctx, &hook).await {
        Ok(()) => Json(answer).into_response(),
        Err(error) => {
            tracing::warn!(session = %ctx.id, %error, "a hook could not be recorded, and was denied");
            deny(
                StatusCode::SERVICE_UNAVAILABLE,
                "the session's journal cannot be written, so nothing is allowed",
            )
        }
    }
}

fn judge(ctx: &Context, input: Value) -> (Hook, Answer) {
    let text = |key: &str| input.get(key).and_then(Value::as_str);
    let event = text("hook_event_name").unwrap_or_default();
    let (decision, answer) = if can_deny(event) {
        match ctx.policy.decide(&Question::read(event, &input)) {
            Decision::Allow => ("allow", Answer::Allow),
            Decision::Deny { reason } => ("deny", Answer::Deny { reason }),
        }
    } else {
        ("observe", Answer::Allow)
    };
    let reason = if let Answer::Deny { reason } = &answer { Some(reason.clone()) } else { None };
    let hook = Hook {
        event: event.to_owned(),
        tool: text("tool_name").map(str::to_owned),
        tool_use_id: text("tool_use_id").map(str::to_owned),
        decision: decision.to_owned(),
        reason,
        input,
    };
    (hook, answer)
}

/// Whether Claude Code 2.1 heeds a denial of this event (reference: its page on hooks).
fn can_deny(event: &str) -> bool {
    matches!(
        event,
        "PreToolUse"
            | "PermissionRequest"
            | "UserPromptSubmit"
            | "UserPromptExpansion"
            | "Stop"
            | "SubagentStop"
            | "TeammateIdle"
            | "TaskCreated"
            | "TaskCompleted"
            | "ConfigChange"
            | "PostToolBatch"
            | "PreCompact"
            | "Elicitation"
            | "ElicitationResult"
            | "WorktreeCreate"
    )
}

async fn record(ctx: &Context, hook: &Hook) -> Result<(), JournalError> {
    ctx.metrics.hook(hook.decision != "deny");
    let seq = ctx.recorder.event(Kind::Hook, hook)?;
    ctx.recorder.commit(seq).await
}

fn deny(status: StatusCode, reason: &str) -> Response {
    (status, Json(Answer::Deny { reason: reason.to_owned() })).into_response()
}
