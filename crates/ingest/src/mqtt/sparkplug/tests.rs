//! A birth has a certificate once it is stored, and not before.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use veritwin_domain::{IngestLimits, ManualClock, SeededRng, TenantId, Timestamp};

use super::super::{Broker, BrokerParts};
use super::*;
use crate::arrivals::Arrivals;
use crate::fuzzing::Door;
use crate::model::{EntryRefused, PeerInfo, Transport};
use crate::traits::{Sink, SubmitError};

const TENANT: TenantId = TenantId::from_bytes([1; 16]);
const DEVICE: DeviceId = DeviceId::from_bytes([2; 16]);
const CONNECT: &[u8] = b"\x10\x14\0\x04MQTT\x05\x82\0\0\0\0\0\0\x05token";
/// NBIRTH with nothing but its `bdSeq`.
const BIRTH: &[u8] = b"\x08\x01\x12\x0b\x0a\x05bdSeq\x20\x04\x58\x00\x18\x00";

/// Stores nothing, and says so when it is told to.
#[derive(Default)]
struct Disk {
    arrivals: Arrivals,
    is_full: AtomicBool,
}

#[async_trait]
impl Sink for Disk {
    fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    async fn submit(
        &self,
        _: Origin<'_>,
        _: Vec<SinkEntry>,
    ) -> Result<Vec<EntryRefused>, SubmitError> {
        if self.is_full.load(Ordering::SeqCst) {
            return Err(SubmitError::Unavailable("disk full".to_owned()));
        }
        Ok(Vec::new())
    }
}

/// The first byte and the body of the next packet.
async fn packet(client: &mut DuplexStream) -> (u8, Vec<u8>) {
    let first = client.read_u8().await.expect("a packet");
    let mut length = 0;
    for shift in [0, 7] {
        let byte = client.read_u8().await.expect("a length");
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    client.read_exact(&mut body).await.expect("a body");
    (first, body)
}

/// Is born, and waits for what that comes to.
async fn born(client: &mut DuplexStream) -> u8 {
    let topic = "spBv1.0/g/NBIRTH/n";
    let mut body = u16::try_from(topic.len()).expect("short").to_be_bytes().to_vec();
    body.extend_from_slice(topic.as_bytes());
    body.extend_from_slice(&[0, 9, 0]);
    body.extend_from_slice(BIRTH);
    let length = u8::try_from(body.len()).expect("short");
    let publish = [&[0x32, length][..], &body].concat();
    client.write_all(&publish).await.expect("sent");
    let (first, body) = packet(client).await;
    assert_eq!((first, &body[..2]), (0x40, &[0, 9][..]));
    body.get(2).copied().unwrap_or_default()
}

#[tokio::test]
async fn a_birth_that_is_not_stored_has_no_certificate() {
    let disk = Arc::new(Disk::default());
    let broker = Broker::new(BrokerParts {
        login: Arc::new(Door),
        sink: Arc::clone(&disk) as Arc<dyn Sink>,
        clock: Arc::new(ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000))),
        rng: Arc::new(SeededRng::new(1)),
        limits: IngestLimits::default(),
    });
    // They were looked through, and there are none.
    broker.certificates.note_all(TENANT, HashMap::new());
    let certificate = || broker.certificates.of(TENANT, DEVICE).expect("looked through");
    let (mut client, server) = tokio::io::duplex(4096);
    let serving = Arc::clone(&broker);
    let served = tokio::spawn(async move {
        serving.serve(server, PeerInfo::new(None, Transport::Mqtt5)).await;
    });
    client.write_all(CONNECT).await.expect("sent");
    assert_eq!(packet(&mut client).await.0, 0x20);

    disk.is_full.store(true, Ordering::SeqCst);
    assert_eq!(born(&mut client).await, 0x80);
    assert_eq!(certificate(), None);
    disk.is_full.store(false, Ordering::SeqCst);
    assert_eq!(born(&mut client).await, 0);
    let topic = "$sparkplug/certificates/spBv1.0/g/NBIRTH/n";
    assert_eq!(certificate().as_deref(), Some(topic));
    drop(client);
    served.await.expect("served");
}
