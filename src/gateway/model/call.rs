//! One call of the model, followed until its answer ends or breaks, then journalled.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_stream::stream;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use futures_util::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use serde::Deserialize;
use tokio::{sync::OwnedSemaphorePermit, time::timeout};

use super::super::{Context, Doors};
use super::usage::Usage;
use crate::{event, journal::Kind};

/// How long what is on its way may take when a client hangs up.
const ON_ITS_WAY: Duration = Duration::from_millis(200);

/// A call under way. It is journalled once, when it is dropped: its answer has ended, or has told what it costs after
/// the client hung up, or the gateway refused it.
pub(in crate::gateway) struct Call {
    ctx: Arc<Context>,
    doors: Arc<Doors>,
    began: Instant,
    event: event::Model,
    usage: Option<Usage>,
    _place: OwnedSemaphorePermit,
}

impl Call {
    /// Notes what the request says of itself.
    pub(super) fn begin(
        ctx: Arc<Context>,
        doors: Arc<Doors>,
        place: OwnedSemaphorePermit,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Call {
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
        Call { ctx, doors, began: Instant::now(), event, usage: None, _place: place }
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
        let mut answer = Answer { call: Some(self), pieces: answer.boxed() };
        stream! {
            while let Some(piece) = answer.next().await {
                yield piece;
            }
        }
    }

    fn read(&mut self, bytes: &[u8]) {
        if let Some(usage) = &mut self.usage {
            usage.read(bytes);
        }
    }

    /// Whether the answer has yet to tell what the call costs.
    fn is_owed(&self) -> bool {
        self.event.status == 200 && self.usage.as_ref().is_some_and(|usage| !usage.is_told())
    }
}

/// An answer on its way.
struct Answer<E: Send + 'static> {
    call: Option<Call>,
    pieces: BoxStream<'static, Result<Bytes, E>>,
}

impl<E: Send + 'static> Answer<E> {
    async fn next(&mut self) -> Option<Result<Bytes, E>> {
        let piece = self.pieces.next().await;
        match (&piece, &mut self.call) {
            (Some(Ok(bytes)), Some(call)) => call.read(bytes),
            (Some(Ok(_)), None) => {}
            // It has ended, or broken off.
            (Some(Err(_)) | None, call) => *call = None,
        }
        piece
    }
}

impl<E: Send + 'static> Drop for Answer<E> {
    /// Nobody waits for it any more.
    fn drop(&mut self) {
        let Some(mut call) = self.call.take() else { return };
        let doors = Arc::clone(&call.doors);
        let mut pieces = std::mem::replace(&mut self.pieces, stream::empty().boxed());
        if call.event.status != 200 {
            return;
        }
        doors.calls.spawn(async move {
            while call.is_owed()
                && let Some(Ok(bytes)) = pieces.next().await
            {
                call.read(&bytes);
            }
            // What was said before the client left counts, drawn or not.
            let rest = async {
                while let Some(Ok(bytes)) = pieces.next().await {
                    call.read(&bytes);
                }
            };
            timeout(ON_ITS_WAY, rest).await.ok();
        });
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
