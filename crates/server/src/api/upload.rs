//! Large bodies: read only after the caller was found to have the right, and bounded together and
//! by branch (a tenant directly below the platform with everybody below it), so that many uploads
//! at once can neither take the memory of the platform nor close it for the others.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use bytes::BytesMut;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use veritwin_domain::{LimitExceeded, TenantId};

use super::{Answer, Problem};

/// Bytes of uploads that the platform holds at once.
pub(crate) const UPLOADS_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Bytes of one branch's uploads among them: one of the largest, and two branches fill the room.
const BRANCH_UPLOADS_BYTES_MAX: usize = 256 * 1024 * 1024;
/// An upload waits for more room no longer than this.
const ROOM_TIMEOUT: Duration = Duration::from_secs(5);
/// One permit of the room.
const PERMIT_BYTES: usize = 64 * 1024;
/// A body that holds room arrives at least this fast, in bytes a second over a window.
const BYTES_PER_SECOND_MIN: usize = 16 * 1024;
const PACE_WINDOW: Duration = Duration::from_secs(15);

/// The room that all uploads share, and each branch's part of it.
#[derive(Clone)]
pub(crate) struct Uploads {
    room: Arc<Semaphore>,
    branches: Arc<Mutex<HashMap<TenantId, Arc<Semaphore>>>>,
}

impl Default for Uploads {
    fn default() -> Self {
        let room = Arc::new(Semaphore::new(UPLOADS_BYTES_MAX / PERMIT_BYTES));
        Self { room, branches: Arc::default() }
    }
}

impl Uploads {
    /// A branch's part. It is remembered while an upload holds it.
    fn part_of(&self, branch: TenantId) -> Arc<Semaphore> {
        let mut branches = self.branches.lock();
        branches.retain(|_, part| Arc::strong_count(part) > 1);
        let part = branches
            .entry(branch)
            .or_insert_with(|| Arc::new(Semaphore::new(BRANCH_UPLOADS_BYTES_MAX / PERMIT_BYTES)));
        Arc::clone(part)
    }
}

/// What an upload holds of the room.
struct Room {
    uploads: Uploads,
    part: Arc<Semaphore>,
    held: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
}

impl Room {
    fn new(uploads: &Uploads, branch: TenantId) -> Self {
        Self { uploads: uploads.clone(), part: uploads.part_of(branch), held: None }
    }

    /// Makes sure of room for so many bytes.
    async fn hold(&mut self, bytes: usize) -> Answer<()> {
        let held = self.held.as_ref().map_or(0, |(part, _)| part.num_permits());
        let more = bytes.div_ceil(PERMIT_BYTES).saturating_sub(held);
        if more == 0 {
            return Ok(());
        }
        // The branch's own part first: who waits for that holds up nobody else.
        let part = take(&self.part, more, "branch_uploads_bytes_max").await?;
        let room = take(&self.uploads.room, more, "uploads_bytes_max").await?;
        match &mut self.held {
            Some(held) => {
                held.0.merge(part);
                held.1.merge(room);
            }
            None => self.held = Some((part, room)),
        }
        Ok(())
    }
}

async fn take(
    room: &Arc<Semaphore>,
    permits: usize,
    limit: &'static str,
) -> Answer<OwnedSemaphorePermit> {
    let permits = u32::try_from(permits).unwrap_or(u32::MAX);
    let taken = tokio::time::timeout(ROOM_TIMEOUT, Arc::clone(room).acquire_many_owned(permits));
    match taken.await {
        Ok(Ok(taken)) => Ok(taken),
        _ => Err(Problem::no_room(limit, ROOM_TIMEOUT)),
    }
}

/// Refuses a body that keeps its room by coming drop by drop.
struct Pace {
    ends_at: Instant,
    bytes: usize,
}

impl Pace {
    fn new() -> Self {
        Self { ends_at: Instant::now() + PACE_WINDOW, bytes: 0 }
    }

    fn check(&mut self) -> Answer<()> {
        if Instant::now() < self.ends_at {
            return Ok(());
        }
        let per_second = self.bytes / PACE_WINDOW.as_secs() as usize;
        *self = Self::new();
        if per_second >= BYTES_PER_SECOND_MIN {
            return Ok(());
        }
        let limit = "upload_bytes_per_second_min";
        let detail = format!(
            "limit {limit} not reached: at least {BYTES_PER_SECOND_MIN} bytes a second, got \
             {per_second}"
        );
        let status = StatusCode::REQUEST_TIMEOUT;
        Err(Problem::new(status, "/problems/slow", "Too slow", detail).of_limit(limit))
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
    _room: Room,
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
    /// 413 with the size when it is too large, 429 when other uploads take all the room, 408 when
    /// it comes too slowly.
    pub(super) async fn receive(
        self,
        uploads: &Uploads,
        branch: TenantId,
        bytes_max: usize,
    ) -> Answer<Received> {
        let too_large = |actual| {
            Problem::from(LimitExceeded { name: "body_bytes_max", max: bytes_max, actual })
        };
        if let Some(declared) = self.declared.filter(|declared| *declared > bytes_max) {
            return Err(too_large(declared));
        }
        let mut body = Limited::new(self.body, bytes_max);
        let mut bytes = BytesMut::new();
        let mut room = Room::new(uploads, branch);
        let mut pace = Pace::new();
        loop {
            pace.check()?;
            let Ok(frame) = tokio::time::timeout_at(pace.ends_at, body.frame()).await else {
                continue;
            };
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    return too_large(bytes_max + 1);
                }
                Problem::invalid("the body ended before it was whole")
            })?;
            let Ok(data) = frame.into_data() else { continue };
            let waits = Instant::now();
            room.hold(bytes.len() + data.len()).await?;
            // Time spent waiting for room is not the sender's.
            pace.ends_at += waits.elapsed();
            pace.bytes += data.len();
            bytes.extend_from_slice(&data);
        }
        Ok(Received { bytes: bytes.freeze(), _room: room })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn branch(number: u8) -> TenantId {
        TenantId::from_bytes([number; 16])
    }

    #[tokio::test(start_paused = true)]
    async fn one_branch_leaves_room_for_another() {
        let uploads = Uploads::default();
        let mut first = Room::new(&uploads, branch(1));
        first.hold(BRANCH_UPLOADS_BYTES_MAX).await.expect("its own part");
        let refused = Room::new(&uploads, branch(1)).hold(1).await.expect_err("no more of it");
        assert_eq!(refused.limit, Some("branch_uploads_bytes_max"));
        let mut second = Room::new(&uploads, branch(2));
        second.hold(BRANCH_UPLOADS_BYTES_MAX).await.expect("another branch's part");
        let refused = Room::new(&uploads, branch(3)).hold(1).await.expect_err("the room is full");
        assert_eq!(refused.limit, Some("uploads_bytes_max"));
        drop(first);
        Room::new(&uploads, branch(3)).hold(1).await.expect("there is room again");
        assert_eq!(uploads.branches.lock().len(), 2, "who holds nothing is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn drops_do_not_keep_room() {
        let drip = futures::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(b"x")), ()))
        });
        let upload = Upload { body: Body::from_stream(drip), declared: None };
        let began = Instant::now();
        let received = upload.receive(&Uploads::default(), branch(1), 1024).await;
        let refused = received.map(|_| ()).expect_err("too slow");
        assert_eq!(refused.limit, Some("upload_bytes_per_second_min"));
        assert!(began.elapsed() <= PACE_WINDOW * 2, "{:?}", began.elapsed());
    }
}
