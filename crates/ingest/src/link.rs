//! The platform's end of a connected device: a bounded queue of downlinks, what the device has
//! subscribed to, and the means to disconnect it.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::{mpsc, watch};

use crate::model::{CloseReason, Downlink, Transport};

/// Most downlinks that wait for one device.
pub const DOWNLINKS_MAX: usize = 64;
/// Most downlinks that wait for a gateway, those of the devices behind it included.
pub const GATEWAY_DOWNLINKS_MAX: usize = 1_024;

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
    #[error(
        "limit downlinks_max exceeded: at most {DOWNLINKS_MAX} messages wait for a device, \
         {GATEWAY_DOWNLINKS_MAX} for a gateway"
    )]
    Full,
    /// The device is gone.
    #[error("the device is not connected")]
    Closed,
}

/// Who ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedBy {
    /// The device said goodbye.
    Device,
    /// It went without a word.
    Network,
    /// The platform closed it.
    Platform,
}

impl EndedBy {
    /// The name used in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Network => "network",
            Self::Platform => "platform",
        }
    }
}

/// How a connection ended, in words of this crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkEnded {
    /// Who ended it.
    pub by: EndedBy,
    /// The reason code of MQTT 5 for it, if the platform closed it.
    pub code: Option<u8>,
    /// Why.
    pub text: String,
}

/// A handle to one connected device. Clones are the same link.
#[derive(Debug, Clone)]
pub struct DeviceLink(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: u64,
    transport: Transport,
    interests: AtomicU8,
    /// What a gateway listens to for the devices behind it.
    child_interests: AtomicU8,
    downlinks: mpsc::Sender<Downlink>,
    close: watch::Sender<Option<CloseReason>>,
    child: Option<Child>,
    /// What the device promises, once that is known.
    keep_alive_seconds: OnceLock<u16>,
    ended: OnceLock<LinkEnded>,
}

/// Of a device behind a gateway: the gateway's link, and its name there.
#[derive(Debug)]
struct Child {
    gateway: DeviceLink,
    name: Arc<str>,
}

fn bits(attributes: bool, rpc: bool) -> u8 {
    (u8::from(attributes) * WANTS_ATTRIBUTES) | (u8::from(rpc) * WANTS_RPC)
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
        Self::with_room(transport, DOWNLINKS_MAX)
    }

    /// A new link of a device that waits for one call: a second one goes elsewhere, or is refused
    /// at once.
    pub fn of_call(transport: Transport) -> (Self, LinkEnd) {
        Self::with_room(transport, 1)
    }

    /// A new link of a gateway.
    pub fn of_gateway(transport: Transport) -> (Self, LinkEnd) {
        Self::with_room(transport, GATEWAY_DOWNLINKS_MAX)
    }

    fn with_room(transport: Transport, downlinks_max: usize) -> (Self, LinkEnd) {
        let (downlinks, receiver) = mpsc::channel(downlinks_max);
        let (close, closed) = watch::channel(None);
        let link = Self::made(transport, downlinks, close, None);
        (link, LinkEnd { downlinks: receiver, close: closed })
    }

    fn made(
        transport: Transport,
        downlinks: mpsc::Sender<Downlink>,
        close: watch::Sender<Option<CloseReason>>,
        child: Option<Child>,
    ) -> Self {
        let id = NEXT_LINK.fetch_add(1, Ordering::Relaxed);
        let (interests, child_interests) = (AtomicU8::new(0), AtomicU8::new(0));
        let (keep_alive_seconds, ended) = (OnceLock::new(), OnceLock::new());
        Self(Arc::new(Inner {
            id,
            transport,
            interests,
            child_interests,
            downlinks,
            close,
            child,
            keep_alive_seconds,
            ended,
        }))
    }

    /// The link of a device behind this gateway: what is sent through it goes to the gateway.
    pub fn for_child(&self, name: &str) -> Self {
        let (close, _) = watch::channel(None);
        let child = Child { gateway: self.clone(), name: name.into() };
        Self::made(self.transport(), self.0.downlinks.clone(), close, Some(child))
    }

    /// Unique in this process.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// How the device is connected.
    pub fn transport(&self) -> Transport {
        self.0.transport
    }

    /// Says within which time the device promises to send something; 0 is no promise. The first
    /// time counts.
    pub fn set_keep_alive(&self, seconds: u16) {
        let _known = self.0.keep_alive_seconds.set(seconds);
    }

    /// Within which time the device promises to send something, if that is known.
    pub fn keep_alive_seconds(&self) -> Option<u16> {
        self.0.keep_alive_seconds.get().copied()
    }

    /// Says how the connection ended. The first time counts.
    pub fn set_ended(&self, ended: LinkEnded) {
        let _known = self.0.ended.set(ended);
    }

    /// How the connection ended, if that is known.
    pub fn ended(&self) -> Option<&LinkEnded> {
        self.0.ended.get()
    }

    /// States what the device listens to.
    pub fn set_interests(&self, attributes: bool, rpc: bool) {
        self.0.interests.store(bits(attributes, rpc), Ordering::Release);
    }

    /// States what a gateway listens to for the devices behind it.
    pub fn set_child_interests(&self, attributes: bool, rpc: bool) {
        self.0.child_interests.store(bits(attributes, rpc), Ordering::Release);
    }

    fn wants(&self, bit: u8) -> bool {
        let bits = match &self.0.child {
            // The gateway may not have heard yet that it is over.
            Some(_) if self.is_closed() => return false,
            Some(child) => &child.gateway.0.child_interests,
            None => &self.0.interests,
        };
        bits.load(Ordering::Acquire) & bit != 0
    }

    /// Whether the device listens to attribute updates.
    pub fn wants_attributes(&self) -> bool {
        self.wants(WANTS_ATTRIBUTES)
    }

    /// Whether the device listens to calls.
    pub fn wants_rpc(&self) -> bool {
        self.wants(WANTS_RPC)
    }

    /// Queues a message for the device. Never waits.
    pub fn send(&self, downlink: Downlink) -> Result<(), LinkError> {
        let wanted = match &downlink {
            Downlink::AttributesUpdated(_) | Downlink::AttributesDeleted(_) => {
                self.wants_attributes()
            }
            Downlink::Rpc(_) => self.wants_rpc(),
            Downlink::OfChild { .. } | Downlink::ChildGone(_) => true,
        };
        if !wanted {
            return Err(LinkError::NotSubscribed);
        }
        let downlink = match &self.0.child {
            Some(child) => {
                let (name, downlink) = (Arc::clone(&child.name), Box::new(downlink));
                Downlink::OfChild { name, downlink }
            }
            None => downlink,
        };
        self.0.downlinks.try_send(downlink).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => LinkError::Full,
            mpsc::error::TrySendError::Closed(_) => LinkError::Closed,
        })
    }

    /// Whether it was ended.
    pub fn is_closed(&self) -> bool {
        self.0.close.borrow().is_some()
    }

    /// Ends the connection; the first reason given counts. For a device behind a gateway it ends
    /// what the gateway says for it, not the gateway's connection.
    pub fn close(&self, reason: CloseReason) {
        let is_first = self.0.close.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                *current = Some(reason);
            }
            first
        });
        // When the platform stops the gateway itself is told, and nothing else is over.
        let is_over = is_first && reason != CloseReason::ShuttingDown;
        if let Some(child) = self.0.child.as_ref().filter(|_| is_over) {
            // A gateway that reads too slowly is told by what it says next being refused.
            let _ = self.0.downlinks.try_send(Downlink::ChildGone(Arc::clone(&child.name)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RpcRequest;

    fn call() -> Downlink {
        Downlink::Rpc(RpcRequest { id: 1, method: "m".to_owned(), params: "1".to_owned() })
    }

    #[tokio::test]
    async fn what_is_over_for_a_device_takes_nothing_more() {
        let (gateway, mut end) = DeviceLink::of_gateway(Transport::Mqtt5);
        gateway.set_child_interests(false, true);
        let child = gateway.for_child("a");
        child.send(call()).expect("queued");
        // Nobody reads, so that the gateway cannot be told that it is over.
        while gateway.send(Downlink::ChildGone("b".into())).is_ok() {}
        child.close(CloseReason::Revoked);
        assert!(child.is_closed() && !gateway.is_closed());
        let first = end.downlinks.recv().await;
        assert!(matches!(first, Some(Downlink::OfChild { .. })), "{first:?}");
        assert_eq!(child.send(call()), Err(LinkError::NotSubscribed));
    }

    #[tokio::test]
    async fn a_gateway_is_told_once_and_not_when_the_platform_stops() {
        let (gateway, mut end) = DeviceLink::of_gateway(Transport::Mqtt5);
        let (one, two) = (gateway.for_child("a"), gateway.for_child("b"));
        two.close(CloseReason::ShuttingDown);
        one.close(CloseReason::Revoked);
        one.close(CloseReason::Revoked);
        let told = end.downlinks.recv().await;
        assert!(matches!(&told, Some(Downlink::ChildGone(name)) if &**name == "a"), "{told:?}");
        assert!(end.downlinks.try_recv().is_err());
    }
}
