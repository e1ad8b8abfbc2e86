//! What bodies of all sessions together may hold in memory.
//!
//! A session has few places for bodies, so it cannot take much; many sessions could. So each body's bytes are
//! counted as they come, and not before: who announces much and sends little takes nothing. When all is taken,
//! what is long is refused with 503, to be sent again; what is short is always taken in.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use axum::body::{Body, Bytes};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

/// Bytes of all bodies in memory, beside what is short of each.
const BUDGET: usize = 256 << 20;

/// Bytes of each body that are not counted. Places are few, and hooks are short.
const SHORT: usize = 64 << 10;

/// How much of the budget is taken.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// One body's share of the budget, given back when the last clone is dropped.
#[derive(Clone, Default)]
pub(super) struct Share(Arc<Counted>);

#[derive(Default)]
struct Counted {
    /// What has come of the body.
    bytes: AtomicUsize,
    /// What of it is counted.
    taken: AtomicUsize,
}

impl Drop for Counted {
    fn drop(&mut self) {
        TAKEN.fetch_sub(*self.taken.get_mut(), Ordering::Relaxed);
    }
}

/// Bodies of all sessions fill what there is for them.
#[derive(Debug)]
pub(super) struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("too much is being received at the moment; send it again later")
    }
}

impl std::error::Error for Full {}

impl Share {
    /// The body, whose bytes count while this share lives; it fails with [`Full`] or for its length.
    pub(super) fn limited(&self, body: Body, limit: usize) -> Limited<Body> {
        Limited::new(Body::new(Counting { body, share: self.clone() }), limit)
    }

    /// The same, unlimited in length; what it fails with is `E`.
    pub(super) fn counting<E: Into<axum::BoxError> + 'static>(&self, body: Body, full: fn() -> E) -> Body {
        let counting = Counting { body, share: self.clone() };
        Body::new(counting.map_err(move |error| if is_full(&error) { full().into() } else { error }))
    }

    fn grow(&self, by: usize) -> Result<(), Full> {
        let counted = |bytes: usize| bytes.saturating_sub(SHORT);
        let before = self.0.bytes.fetch_add(by, Ordering::Relaxed);
        let more = counted(before + by) - counted(before);
        let take = |taken: usize| Some(taken + more).filter(|taken| *taken <= BUDGET);
        TAKEN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).map_err(|_| Full)?;
        self.0.taken.fetch_add(more, Ordering::Relaxed);
        Ok(())
    }
}

/// Bodies longer than this are worked on by a thread of their own, so that others are not kept from theirs.
pub(super) const INLINE_LIMIT: usize = 64 << 10; // bytes

/// Does the work that a body of so many bytes makes; `None` when the daemon stops before it is done.
pub(super) async fn off_worker<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    if bytes <= INLINE_LIMIT { Some(work()) } else { tokio::task::spawn_blocking(work).await.ok() }
}

/// Whether a body failed because all is taken.
pub(super) fn is_full(error: &axum::BoxError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error.as_ref());
    while let Some(error) = cause {
        if error.is::<Full>() {
            return true;
        }
        cause = error.source();
    }
    false
}

struct Counting {
    body: Body,
    share: Share,
}

impl HttpBody for Counting {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        frame.map(|frame| {
            frame.map(|frame| {
                let frame = frame?;
                self.share.grow(frame.data_ref().map_or(0, Bytes::len))?;
                Ok(frame)
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_long_is_refused_when_all_is_taken_and_what_is_short_is_not() {
        let holder = Share::default();
        // Other tests take little beside.
        holder.grow(BUDGET - (32 << 20)).expect("there is room");
        let long = || Body::from(vec![0; 40 << 20]);
        let refused = Share::default();
        let error = refused.limited(long(), 64 << 20).collect().await.expect_err("all is taken");
        assert!(is_full(&error), "{error}");
        drop(refused);
        let short = Share::default().limited(Body::from(vec![0; SHORT]), SHORT).collect().await;
        assert_eq!(short.expect("always").to_bytes().len(), SHORT);
        drop(holder);
        let share = Share::default();
        let taken = share.limited(long(), 64 << 20).collect().await;
        assert_eq!(taken.expect("given back").to_bytes().len(), 40 << 20);
        assert!(TAKEN.load(Ordering::Relaxed) >= (40 << 20) - SHORT, "it counts while it is used");
    }
}
