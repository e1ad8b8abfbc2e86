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

/// A call under way. It is journalled once, when it is dropped: its answer has been passed on to the end, or
/// the gateway refused it, or the client hung up at whatever moment.
pub(in crate::gateway) struct Call {
    ctx: Arc<Context>,
    began: Instant,
    event: event::Model,
    usage: Option<Usage>,
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
        let header = |name: &str| headers.get(name)?.to_str().ok().map(|s| s.chars().take(64).collect());
        let event = event::Model {
            model: model.chars().take(128).collect(),
            claude_session_id: header("x-claude-code-session-id"),
            traceparent: header("traceparent"),
            ..event::Model::default()
        };
        Call { ctx, began: Instant::now(), event, usage: None }
    }

    /// Ends the call here: the gateway itself refuses it.
    pub(super) fn refused(mut self, status: StatusCode, why: &str) {
        self.event.status = status.as_u16();
        self.event.refused = Some(why.to_owned());
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
        self.usage = Some(Usage::new(events));
        stream! {
            let mut answer = std::pin::pin!(answer);
            while let Some(piece) = answer.next().await {
                if let (Ok(bytes), Some(usage)) = (&piece, &mut self.usage) {
                    usage.read(bytes);
                }
                yield piece;
            }
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut event = std::mem::take(&mut self.event);
        if let Some(usage) = &mut self.usage {
            usage.tell(&mut event);
        }
        event.duration_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        event.cost_usd = self.ctx.upstream.cost(&event);
        self.ctx.metrics.model_call(event.refused.is_none());
        self.ctx.recorder.note(Kind::Model, &event);
    }
}
