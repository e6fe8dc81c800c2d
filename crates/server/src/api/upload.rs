//! Large bodies: read only after the caller was found to have the right, and bounded together, so
//! that many uploads at once cannot take the memory of the platform.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::header;
use bytes::BytesMut;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use veritwin_app::Error;
use veritwin_domain::LimitExceeded;

use super::{Answer, Problem};

/// Bytes of uploads that the platform holds at once.
pub(crate) const UPLOADS_BYTES_MAX: usize = 512 * 1024 * 1024;
/// An upload waits for more room no longer than this.
const ROOM_TIMEOUT: Duration = Duration::from_secs(5);
/// One permit of the room.
const PERMIT_BYTES: usize = 64 * 1024;

/// The room that all uploads share.
#[derive(Clone)]
pub(crate) struct Uploads {
    room: Arc<Semaphore>,
}

impl Default for Uploads {
    fn default() -> Self {
        Self { room: Arc::new(Semaphore::new(UPLOADS_BYTES_MAX / PERMIT_BYTES)) }
    }
}

impl Uploads {
    async fn take(&self, permits: usize) -> Answer<OwnedSemaphorePermit> {
        let permits = u32::try_from(permits).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(permits);
        match tokio::time::timeout(ROOM_TIMEOUT, room).await {
            Ok(Ok(room)) => Ok(room),
            _ => {
                let busy = Problem::from(Error::Busy { retry_after: ROOM_TIMEOUT });
                Err(busy.of_limit("uploads_bytes_max"))
            }
        }
    }
}

/// A body of which nothing was read yet.
pub(super) struct Upload {
    body: Body,
    /// From `Content-Length`, in bytes.
    declared: Option<usize>,
}

/// A body that arrived. It keeps its room until it is dropped.
pub(super) struct Received {
    pub(super) bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

impl<S: Send + Sync> FromRequest<S> for Upload {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let declared = request.headers().get(header::CONTENT_LENGTH);
        let declared = declared.and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(Self { body: request.into_body(), declared })
    }
}

impl Upload {
    /// Reads the body, `bytes_max` at most, and takes room as it arrives.
    ///
    /// # Errors
    ///
    /// 413 with the size when it is too large, 429 when other uploads take all the room.
    pub(super) async fn receive(self, uploads: &Uploads, bytes_max: usize) -> Answer<Received> {
        let too_large = |actual| {
            Problem::from(LimitExceeded { name: "body_bytes_max", max: bytes_max, actual })
        };
        if let Some(declared) = self.declared.filter(|declared| *declared > bytes_max) {
            return Err(too_large(declared));
        }
        let mut body = Limited::new(self.body, bytes_max);
        let mut bytes = BytesMut::new();
        let mut room: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    return too_large(bytes_max + 1);
                }
                Problem::invalid("the body ended before it was whole")
            })?;
            let Ok(data) = frame.into_data() else { continue };
            let held = room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            let more = (bytes.len() + data.len()).div_ceil(PERMIT_BYTES).saturating_sub(held);
            if more > 0 {
                let more = uploads.take(more).await?;
                match &mut room {
                    Some(room) => room.merge(more),
                    None => room = Some(more),
                }
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Received { bytes: bytes.freeze(), _room: room })
    }
}
