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
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    Context, Doors,
    intake::{Share, off_worker},
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
    let judged = {
        let ctx = Arc::clone(&ctx);
        off_worker(body.len(), move || consider(&ctx, body)).await
    };
    let (seq, answer) = match judged {
        Some(Ok(judged)) => judged,
        Some(Err(Unheard::Nonsense(reason))) => return deny(StatusCode::BAD_REQUEST, reason),
        Some(Err(Unheard::Journal(error))) => return unrecorded(&ctx, &error),
        None => return deny(StatusCode::SERVICE_UNAVAILABLE, "the daemon stops"),
    };
    match ctx.recorder.commit(seq).await {
        Ok(()) => Json(answer).into_response(),
        Err(error) => unrecorded(&ctx, &error),
    }
}

fn unrecorded(ctx: &Context, error: &JournalError) -> Response {
    tracing::warn!(session = %ctx.id, %error, "a hook could not be recorded, and was denied");
    let reason = "the session's journal cannot be written, so nothing is allowed";
    deny(StatusCode::SERVICE_UNAVAILABLE, reason)
}

/// Why there is no answer to a question but that it is denied.
enum Unheard {
    Nonsense(&'static str),
    Journal(JournalError),
}

/// Judges and records; what is left is to commit the frame of this number.
fn consider(ctx: &Context, body: Bytes) -> Result<(u64, Answer), Unheard> {
    let deep = "the hook's input is not a JSON object, or is nested too deeply";
    let input = object(&body).ok_or(Unheard::Nonsense(deep))?;
    drop(body);
    let judged = judge(ctx, input).ok_or(Unheard::Nonsense("the hook's input names something twice"));
    let (hook, answer) = judged?;
    let decision = ["allow", "deny"].into_iter().find(|d| *d == hook.decision).unwrap_or("observe");
    ctx.metrics.hook(known(&hook.event), decision);
    let seq = ctx.recorder.event(Kind::Hook, &hook).map_err(Unheard::Journal)?;
    Ok((seq, answer))
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

/// The event, if it is one of Claude Code's own (2.1.329); what a session makes up counts as `other`.
fn known(event: &str) -> &'static str {
    const EVENTS: [&str; 33] = [
        "PreToolUse",
        "PostToolUse",
        "PostToolUseFailure",
        "PostToolBatch",
        "Notification",
        "UserPromptSubmit",
        "UserPromptExpansion",
        "SessionStart",
        "SessionEnd",
        "Stop",
        "StopFailure",
        "SubagentStart",
        "SubagentStop",
        "PreCompact",
        "PostCompact",
        "PreModelSwitch",
        "PostModelSwitch",
        "PermissionRequest",
        "PermissionDenied",
        "Setup",
        "TeammateIdle",
        "TaskCreated",
        "TaskCompleted",
        "Elicitation",
        "ElicitationResult",
        "ConfigChange",
        "WorktreeCreate",
        "WorktreeRemove",
        "InstructionsLoaded",
        "CwdChanged",
        "FileChanged",
        "DirectoryAdded",
        "MessageDisplay",
    ];
    EVENTS.into_iter().find(|known| *known == event).unwrap_or("other")
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

fn deny(status: StatusCode, reason: &str) -> Response {
    (status, Json(Answer::Deny { reason: reason.to_owned() })).into_response()
}
