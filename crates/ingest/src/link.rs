//! The platform's end of a connected device: a bounded queue of downlinks, what the device has
//! subscribed to, and the means to disconnect it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use tokio::sync::{mpsc, watch};

use crate::model::{CloseReason, Downlink, Transport};

/// Most downlinks that wait for one device.
pub const DOWNLINKS_MAX: usize = 64;

const WANTS_ATTRIBUTES: u8 = 1;
const WANTS_RPC: u8 = 2;

static NEXT_LINK: AtomicU64 = AtomicU64::new(1);

/// Why a downlink was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The device has not subscribed to this kind of message.
    #[error("the device has not subscribed to this")]
    NotSubscribed,
    /// The device reads too slowly: [`DOWNLINKS_MAX`] messages wait already.
    #[error("limit downlinks_max exceeded: at most {DOWNLINKS_MAX} messages wait for a device")]
    Full,
    /// The device is gone.
    #[error("the device is not connected")]
    Closed,
}

/// A handle to one connected device. Clones are the same link.
#[derive(Debug, Clone)]
pub struct DeviceLink(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: u64,
    transport: Transport,
    interests: AtomicU8,
    downlinks: mpsc::Sender<Downlink>,
    close: watch::Sender<Option<CloseReason>>,
}

/// The connection's end of a [`DeviceLink`].
#[derive(Debug)]
pub struct LinkEnd {
    /// What is to be sent to the device.
    pub downlinks: mpsc::Receiver<Downlink>,
    /// Becomes `Some` when the connection has to end.
    pub close: watch::Receiver<Option<CloseReason>>,
}

impl DeviceLink {
    /// A new link and the connection's end of it.
    pub fn new(transport: Transport) -> (Self, LinkEnd) {
        let (downlinks, receiver) = mpsc::channel(DOWNLINKS_MAX);
        let (close, closed) = watch::channel(None);
        let id = NEXT_LINK.fetch_add(1, Ordering::Relaxed);
        let interests = AtomicU8::new(0);
        let link = Self(Arc::new(Inner { id, transport, interests, downlinks, close }));
        (link, LinkEnd { downlinks: receiver, close: closed })
    }

    /// Unique in this process.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// How the device is connected.
    pub fn transport(&self) -> Transport {
        self.0.transport
    }

    /// States what the device listens to.
    pub fn set_interests(&self, attributes: bool, rpc: bool) {
        let bits = (u8::from(attributes) * WANTS_ATTRIBUTES) | (u8::from(rpc) * WANTS_RPC);
        self.0.interests.store(bits, Ordering::Release);
    }

    /// Whether the device listens to attribute updates.
    pub fn wants_attributes(&self) -> bool {
        self.0.interests.load(Ordering::Acquire) & WANTS_ATTRIBUTES != 0
    }

    /// Whether the device listens to calls.
    pub fn wants_rpc(&self) -> bool {
        self.0.interests.load(Ordering::Acquire) & WANTS_RPC != 0
    }

    /// Queues a message for the device. Never waits.
    pub fn send(&self, downlink: Downlink) -> Result<(), LinkError> {
        let wanted = match &downlink {
            Downlink::AttributesUpdated(_) | Downlink::AttributesDeleted(_) => {
                self.wants_attributes()
            }
            Downlink::Rpc(_) => self.wants_rpc(),
        };
        if !wanted {
            return Err(LinkError::NotSubscribed);
        }
        self.0.downlinks.try_send(downlink).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => LinkError::Full,
            mpsc::error::TrySendError::Closed(_) => LinkError::Closed,
        })
    }

    /// Ends the connection; the first reason given counts.
    pub fn close(&self, reason: CloseReason) {
        self.0.close.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                *current = Some(reason);
            }
            first
        });
    }
}
