//! Large bodies: read only after the caller was found to have the right, and bounded together, by
//! branch (a tenant directly below the platform with everybody below it) and by tenant, so that
//! many uploads at once can neither take the memory of the platform nor close it for the others.

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

/// Bytes of uploads that the platform holds at once: one of the largest more than a branch may.
pub(crate) const UPLOADS_BYTES_MAX: usize = 768 * 1024 * 1024;
/// Bytes of one branch's uploads among them: one of the largest more than a tenant may.
const BRANCH_UPLOADS_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Bytes of one tenant's uploads among those: one of the largest.
const TENANT_UPLOADS_BYTES_MAX: usize = 256 * 1024 * 1024;
/// An upload waits for more room no longer than this.
const ROOM_TIMEOUT: Duration = Duration::from_secs(5);
/// One permit of the room.
const PERMIT_BYTES: usize = 64 * 1024;
/// A body that holds room arrives at least this fast, in bytes a second over a window.
const BYTES_PER_SECOND_MIN: usize = 16 * 1024;
/// The more a body holds, the faster it has to go on: as fast as to arrive within the time that a
/// request has.
const ARRIVAL: Duration = super::middleware::REQUEST_TIMEOUT;
const PACE_WINDOW: Duration = Duration::from_secs(15);

/// The room that all uploads share, and each branch's and tenant's part of it.
#[derive(Clone)]
pub(crate) struct Uploads {
    room: Arc<Semaphore>,
    branches: Parts,
    tenants: Parts,
}

/// Parts of the room by whose they are.
#[derive(Clone)]
struct Parts {
    bytes_max: usize,
    of: Arc<Mutex<HashMap<TenantId, Arc<Semaphore>>>>,
}

/// Whose an upload is.
#[derive(Clone, Copy)]
pub(super) struct Sender {
    pub(super) tenant: TenantId,
    /// The tenant at the top of its branch, directly below the platform; itself, if that is it.
    pub(super) branch: TenantId,
}

impl Default for Uploads {
    fn default() -> Self {
        Self {
            room: Arc::new(Semaphore::new(UPLOADS_BYTES_MAX / PERMIT_BYTES)),
            branches: Parts { bytes_max: BRANCH_UPLOADS_BYTES_MAX, of: Arc::default() },
            tenants: Parts { bytes_max: TENANT_UPLOADS_BYTES_MAX, of: Arc::default() },
        }
    }
}

impl Parts {
    /// The part of one. It is remembered while an upload holds it.
    fn of(&self, id: TenantId) -> Arc<Semaphore> {
        let mut parts = self.of.lock();
        parts.retain(|_, part| Arc::strong_count(part) > 1);
        let part = || Arc::new(Semaphore::new(self.bytes_max / PERMIT_BYTES));
        Arc::clone(parts.entry(id).or_insert_with(part))
    }
}

/// What an upload holds of the room.
struct Room {
    /// The tenant's own part first, then the branch's: who waits for one of them holds up nobody
    /// else.
    from: [(Arc<Semaphore>, &'static str); 3],
    held: Option<[OwnedSemaphorePermit; 3]>,
}

impl Room {
    fn new(uploads: &Uploads, sender: Sender) -> Self {
        let from = [
            (uploads.tenants.of(sender.tenant), "tenant_uploads_bytes_max"),
            (uploads.branches.of(sender.branch), "branch_uploads_bytes_max"),
            (Arc::clone(&uploads.room), "uploads_bytes_max"),
        ];
        Self { from, held: None }
    }

    /// Makes sure of room for so many bytes.
    async fn hold(&mut self, bytes: usize) -> Answer<()> {
        let held = self.held.as_ref().map_or(0, |[own, ..]| own.num_permits());
        let more = bytes.div_ceil(PERMIT_BYTES).saturating_sub(held);
        if more == 0 {
            return Ok(());
        }
        let [tenant, branch, all] = &self.from;
        let taken = [take(tenant, more).await?, take(branch, more).await?, take(all, more).await?];
        match &mut self.held {
            Some(held) => {
                for (held, taken) in held.iter_mut().zip(taken) {
                    held.merge(taken);
                }
            }
            None => self.held = Some(taken),
        }
        Ok(())
    }
}

async fn take(
    (room, limit): &(Arc<Semaphore>, &'static str),
    permits: usize,
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

    fn check(&mut self, held_bytes: usize) -> Answer<()> {
        if Instant::now() < self.ends_at {
            return Ok(());
        }
        let per_second = self.bytes / PACE_WINDOW.as_secs() as usize;
        *self = Self::new();
        let least = (held_bytes / ARRIVAL.as_secs() as usize).max(BYTES_PER_SECOND_MIN);
        if per_second >= least {
            return Ok(());
        }
        let limit = "upload_bytes_per_second_min";
        let detail = format!(
            "limit {limit} not reached: at least {least} bytes a second after {held_bytes}, got \
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
    room: Room,
}

impl Received {
    /// Takes room for what is made of it, too, or says that there is none for now.
    pub(super) async fn hold_more(&mut self, bytes: usize) -> Answer<()> {
        self.room.hold(self.bytes.len().saturating_add(bytes)).await
    }
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
        sender: Sender,
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
        let mut room = Room::new(uploads, sender);
        let mut pace = Pace::new();
        loop {
            pace.check(bytes.len())?;
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
        Ok(Received { bytes: bytes.freeze(), room })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(number: u8) -> TenantId {
        TenantId::from_bytes([number; 16])
    }

    fn customer(number: u8, branch: u8) -> Sender {
        Sender { tenant: tenant(number), branch: tenant(branch) }
    }

    async fn refused(uploads: &Uploads, sender: Sender) -> Option<&'static str> {
        Room::new(uploads, sender).hold(1).await.expect_err("no room").limit
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_made_of_a_body_takes_room_too() {
        let uploads = Uploads::default();
        let room = Room::new(&uploads, customer(2, 1));
        let mut received = Received { bytes: Bytes::from_static(b"few"), room };
        let more = TENANT_UPLOADS_BYTES_MAX - PERMIT_BYTES;
        received.hold_more(more).await.expect("its own part");
        assert_eq!(refused(&uploads, customer(2, 1)).await, Some("tenant_uploads_bytes_max"));
        drop(received);
        Room::new(&uploads, customer(2, 1)).hold(1).await.expect("room again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_customer_leaves_room_for_its_siblings_and_a_branch_for_another() {
        let uploads = Uploads::default();
        let mut first = Room::new(&uploads, customer(2, 1));
        first.hold(TENANT_UPLOADS_BYTES_MAX).await.expect("its own part");
        assert_eq!(refused(&uploads, customer(2, 1)).await, Some("tenant_uploads_bytes_max"));
        let mut sibling = Room::new(&uploads, customer(3, 1));
        sibling.hold(TENANT_UPLOADS_BYTES_MAX).await.expect("a sibling's largest");
        assert_eq!(refused(&uploads, customer(4, 1)).await, Some("branch_uploads_bytes_max"));
        let mut other = Room::new(&uploads, customer(5, 5));
        other.hold(TENANT_UPLOADS_BYTES_MAX).await.expect("another branch's largest");
        assert_eq!(refused(&uploads, customer(6, 6)).await, Some("uploads_bytes_max"));
        drop(first);
        Room::new(&uploads, customer(6, 6)).hold(1).await.expect("there is room again");
        // Known is who holds something, and whoever came last.
        drop(Room::new(&uploads, customer(3, 1)));
        assert_eq!(uploads.tenants.of.lock().len(), 2, "who holds nothing is forgotten");
    }

    /// Until when a body of so many bytes at once, and then one a second, is read.
    async fn read_for(at_once: usize) -> Duration {
        let drip = futures::stream::unfold(at_once, |bytes| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; bytes])), 20_000))
        });
        let upload = Upload { body: Body::from_stream(drip), declared: None };
        let began = Instant::now();
        let received = upload.receive(&Uploads::default(), customer(1, 1), 1 << 30).await;
        let refused = received.map(|_| ()).expect_err("too slow");
        assert_eq!(refused.limit, Some("upload_bytes_per_second_min"));
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn the_more_a_body_holds_the_faster_it_goes_on() {
        let most = PACE_WINDOW * 2 + Duration::from_secs(1);
        let small = read_for(1024).await;
        assert!(small > most, "20 kB a second is enough for a while: {small:?}");
        let large = read_for(200 << 20).await;
        assert!(large <= most, "room is not kept drop by drop: {large:?}");
    }
}
