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
use serde_json::value::RawValue;

use super::{
    Context, Doors,
    intake::Share,
    otlp::{Refusal, http::read},
};
use crate::{
    event::Hook,
    journal::{JournalError, Kind},
    policy::{Decision, Question},
    raw,
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
    let share = Share::default();
    let body = match read(&parts.headers, body, BODY_LIMIT, &share).await {
        Ok(body) => body,
        Err(error @ Refusal::Full) => return deny(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        Err(_) => {
            return deny(StatusCode::PAYLOAD_TOO_LARGE, "the hook's input is too long, or did not arrive");
        }
    };
    let Some(input) = object(&body) else {
        let reason = "the hook's input is not a JSON object, or is nested too deeply";
        return deny(StatusCode::BAD_REQUEST, reason);
    };
    drop(body);
    let Some((hook, answer)) = judge(&ctx, input) else {
        return deny(StatusCode::BAD_REQUEST, "the hook's input names something twice");
    };
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

/// A body as an object on one line.
fn object(body: &[u8]) -> Option<Box<RawValue>> {
    let input: &RawValue = serde_json::from_slice(body).ok()?;
    raw::compact(input, raw::MAX_DEPTH).filter(|input| raw::is_object(input))
}

/// What of Claude Code's question is read; everything is recorded.
#[derive(Deserialize)]
struct Input<'a> {
    #[serde(borrow)]
    hook_event_name: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_name: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_use_id: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_input: Option<&'a RawValue>,
    #[serde(borrow)]
    cwd: Option<&'a RawValue>,
}

/// The answer; none to a question that says one thing twice.
fn judge(ctx: &Context, input: Box<RawValue>) -> Option<(Hook, Answer)> {
    let said: Input<'_> = serde_json::from_str(input.get()).ok()?;
    let event = said.hook_event_name.and_then(raw::text).unwrap_or_default();
    let cwd = said.cwd.and_then(raw::text);
    let (decision, answer) = if can_deny(&event) {
        let cwd = cwd.as_deref().unwrap_or("/");
        match ctx.policy.decide(&Question { event: &event, input: said.tool_input, cwd }) {
            Decision::Allow => ("allow", Answer::Allow),
            Decision::Deny { reason } => ("deny", Answer::Deny { reason }),
        }
    } else {
        ("observe", Answer::Allow)
    };
    let reason = if let Answer::Deny { reason } = &answer { Some(reason.clone()) } else { None };
    let (tool, tool_use_id) = (said.tool_name.and_then(raw::text), said.tool_use_id.and_then(raw::text));
    Some((Hook { event, tool, tool_use_id, decision: decision.to_owned(), reason, input }, answer))
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
