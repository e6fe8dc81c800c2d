//! Answers on their way out: handed on in small pieces, and watched. A client that takes nothing of
//! an answer for too long, over HTTP/1.1 or with a closed window of HTTP/2, loses its connection.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::Instant;

/// The largest piece. A piece that is handed on is kept by the connection until it is sent, so the
/// rest has to stay where it can be seen.
const PIECE_BYTES_MAX: usize = 16 * 1024;

/// The answers of one connection that wait for their client, and since when.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    waiting: Mutex<HashMap<u64, Instant>>,
    next: AtomicU64,
}

impl Outgoing {
    /// Watches an answer; `held` is dropped with it.
    pub(crate) fn watch<T: Send + Unpin + 'static>(self: &Arc<Self>, body: Body, held: T) -> Body {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (of, rest) = (Arc::clone(self), Bytes::new());
        of.waits(id);
        Body::new(Watched { body, rest, id, of, _held: held })
    }

    /// Ends when an answer has waited for longer than `limit`.
    pub(crate) async fn stalled(&self, limit: Duration) {
        let mut turns = tokio::time::interval(limit / 4);
        loop {
            turns.tick().await;
            let oldest = self.waiting.lock().values().min().copied();
            if oldest.is_some_and(|since| since.elapsed() > limit) {
                return;
            }
        }
    }

    fn waits(&self, id: u64) {
        self.waiting.lock().insert(id, Instant::now());
    }

    fn goes_on(&self, id: u64) {
        self.waiting.lock().remove(&id);
    }
}

struct Watched<T> {
    body: Body,
    /// Of the last frame, what was not handed on yet.
    rest: Bytes,
    id: u64,
    of: Arc<Outgoing>,
    _held: T,
}

impl<T: Unpin> http_body::Body for Watched<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            // What is not made yet is not the client's fault.
            self.of.goes_on(self.id);
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                end => return Poll::Ready(end),
            }
        }
        let length = self.rest.len().min(PIECE_BYTES_MAX);
        let piece = self.rest.split_to(length);
        self.of.waits(self.id);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut whole = SizeHint::new();
        whole.set_lower(hint.lower() + rest);
        if let Some(upper) = hint.upper() {
            whole.set_upper(upper + rest);
        }
        whole
    }
}

impl<T> Drop for Watched<T> {
    fn drop(&mut self) {
        self.of.goes_on(self.id);
    }
}
