//! One call of the model, followed until its answer ends or breaks, then journalled.

use std::{sync::Arc, time::Instant};

use async_stream::stream;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use serde::Deserialize;

use super::super::Context;
use super::usage::Usage;
use crate::{event, journal::Kind};

/// A call under way. It is journalled once: when its answer has been followed to the end, or when it is
/// dropped before, because the client hung up.
pub(in crate::gateway) struct Call {
    ctx: Arc<Context>,
    began: Instant,
    event: event::Model,
}

impl Call {
    /// Notes what the request says of itself.
    pub(super) fn begin(ctx: Arc<Context>, headers: &HeaderMap, body: &[u8]) -> Call {
        #[derive(Deserialize)]
        struct Asked {
            #[serde(default)]
            model: String,
        }
        let model = serde_json::from_slice::<Asked>(body).map(|a| a.model).unwrap_or_default();
        let session = headers.get("x-claude-code-session-id").and_then(|v| v.to_str().ok());
        let event = event::Model {
            model: model.chars().take(128).collect(),
            claude_session_id: session.map(|s| s.chars().take(64).collect()),
            ..event::Model::default()
        };
        Call { ctx, began: Instant::now(), event }
    }

    /// Journals that the gateway itself refused the call.
    pub(super) fn refused(&self, status: StatusCode, why: &str) {
        let mut event = self.event.clone();
        event.status = status.as_u16();
        event.refused = Some(why.to_owned());
        self.journal(event);
    }

    /// Passes an answer on, reading its usage on the side.
    pub(in crate::gateway) fn follow<E: Send + 'static>(
        mut self,
        status: StatusCode,
        headers: &HeaderMap,
        answer: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
    ) -> impl Stream<Item = Result<Bytes, E>> + Send + 'static {
        let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
        let events = header("content-type").is_some_and(|t| t.starts_with("text/event-stream"));
        self.event.status = status.as_u16();
        self.event.request_id = header("request-id").map(|id| id.chars().take(128).collect());
        let mut followed = Followed { call: self, usage: Usage::new(events) };
        stream! {
            let mut answer = std::pin::pin!(answer);
            while let Some(piece) = answer.next().await {
                if let Ok(bytes) = &piece {
                    followed.usage.read(bytes);
                }
                yield piece;
            }
        }
    }

    fn journal(&self, mut event: event::Model) {
        event.duration_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        event.cost_usd = self.ctx.upstream.cost(&event);
        self.ctx.metrics.model_call(event.refused.is_none());
        if let Err(error) = self.ctx.recorder.event(Kind::Model, &event) {
            tracing::error!(session = %self.ctx.id, %error, "a model call could not be recorded");
        }
    }
}

struct Followed {
    call: Call,
    usage: Usage,
}

impl Drop for Followed {
    fn drop(&mut self) {
        let mut event = self.call.event.clone();
        self.usage.tell(&mut event);
        self.call.journal(event);
    }
}
