//! What is told of a session that outlives the process, and its form. Told again in its order it
//! gives the session; told twice it does no harm. What does not read back is no note.

use std::sync::Arc;

use veritwin_domain::{CredentialId, SessionNote, Timestamp};

use super::connect::Will;
use super::frame::Version;
use super::outbox::Delivery;
use super::packet::Options;
use super::session::{SessionKey, Subscription};
use super::topic::FilterKind;

/// Version of the form.
const FORM: u8 = 1;
/// In place of a round: a session that was not kept before is told whole.
pub(super) const WHOLE: u64 = u64::MAX;
/// Most items of a list.
const ITEMS_MAX: usize = 1 << 20;

const HELD: u8 = 1;
const ENDED: u8 = 2;
const SUBSCRIBED: u8 = 3;
const UNSUBSCRIBED: u8 = 4;
const ARRIVED: u8 = 5;
const FREED: u8 = 6;
const RELEASED: u8 = 7;
const SETTLED: u8 = 8;
const TAKEN: u8 = 9;
const WILL_DONE: u8 = 10;
const KEPT: u8 = 11;
const WAITS: u8 = 12;

/// Who has a session, and until when it is kept.
#[derive(Debug, Clone)]
pub(super) struct Held {
    /// The later one holds.
    pub(super) turn: u64,
    /// What the connection came in by.
    pub(super) credential: CredentialId,
    /// How long it outlives its connection.
    pub(super) keep_seconds: u32,
    /// Since when it has none.
    pub(super) away_at: Option<Timestamp>,
    /// It begins anew.
    pub(super) clean: bool,
    /// The connection's will, until it is published or let go.
    pub(super) will: Option<KeptWill>,
}

/// A will that outlives the process.
#[derive(Debug, Clone)]
pub(super) struct KeptWill {
    credential: CredentialId,
    is_v5: bool,
    topic: String,
    payload: Arc<[u8]>,
    qos: u8,
    retain: bool,
    properties: Arc<[u8]>,
    pub(super) delay_seconds: u32,
}

impl KeptWill {
    pub(super) fn of(will: &Will, version: Version, credential: CredentialId) -> Self {
        Self {
            credential,
            is_v5: version == Version::V5,
            topic: will.topic.clone(),
            payload: will.payload.as_slice().into(),
            qos: will.qos,
            retain: will.retain,
            properties: will.properties.as_slice().into(),
            delay_seconds: will.delay_seconds,
        }
    }

    /// The will, with the delay that is left of it.
    pub(super) fn to_will(&self, delay_seconds: u32) -> (Will, Version, CredentialId) {
        let will = Will {
            topic: self.topic.clone(),
            payload: self.payload.to_vec(),
            qos: self.qos,
            retain: self.retain,
            properties: self.properties.to_vec(),
            delay_seconds,
        };
        let version = if self.is_v5 { Version::V5 } else { Version::V3 };
        (will, version, self.credential)
    }
}

/// Where a session stands, but for what waits for it.
#[derive(Debug)]
pub(super) struct Kept {
    /// From which position on everything is told anew, or [`WHOLE`].
    pub(super) round: u64,
    pub(super) held: Held,
    pub(super) subscriptions: Vec<Subscription>,
    /// Packet ids of QoS 2 messages that are stored and not released.
    pub(super) received: Vec<u16>,
    /// Places of QoS 2 messages that the client has and has not completed, with their ids.
    pub(super) released: Vec<u64>,
}

/// What became of a session.
#[derive(Debug)]
pub(super) enum Note {
    /// Somebody, or nobody, has it from now on.
    Held(Held),
    /// It is over, if nobody has had it since that turn.
    Ended(u64),
    /// Filters, each with whether it is a new one.
    Subscribed(Vec<(Subscription, bool)>),
    Unsubscribed(Vec<String>),
    /// QoS 2 messages with these ids came, and are durable with this note.
    Arrived(Vec<u16>),
    /// These ids are free again.
    Freed(Vec<u16>),
    /// The client has the QoS 2 messages with these places.
    Released(Vec<u64>),
    /// The messages with these places are done with.
    Settled(Vec<u64>),
    /// A message of a share was taken by the session, or by one that is not kept.
    Taken {
        place: u64,
        share: String,
        elsewhere: bool,
    },
    /// The will of the connection with this turn is published.
    WillDone(u64),
    Kept(Box<Kept>),
    /// A message that waits, or is unacknowledged, told in a round, or with [`WHOLE`] behind
    /// where the session stands.
    Waits(u64, Delivery),
}

impl Note {
    /// The note in its form.
    pub(super) fn of(&self, key: &SessionKey) -> SessionNote {
        let mut out = Out(vec![FORM]);
        out.text(&key.client_id);
        self.write(&mut out);
        SessionNote { tenant: key.tenant, device: key.device, body: out.0.into() }
    }

    /// Whose note it is, and the note; `None` if it is not in the form.
    pub(super) fn read(note: &SessionNote) -> Option<(SessionKey, Self)> {
        let mut input = In(&note.body);
        if input.byte()? != FORM {
            return None;
        }
        let client_id = input.text()?;
        let key = SessionKey { tenant: note.tenant, device: note.device, client_id };
        let read = Self::read_rest(&mut input)?;
        input.0.is_empty().then_some((key, read))
    }

    fn write(&self, out: &mut Out) {
        match self {
            Self::Held(held) => {
                out.byte(HELD);
                out.held(held);
            }
            Self::Ended(turn) => {
                out.byte(ENDED);
                out.number(*turn);
            }
            Self::Subscribed(all) => {
                out.byte(SUBSCRIBED);
                out.list(all, |out, (subscription, is_new)| {
                    out.subscription(subscription);
                    out.flag(*is_new);
                });
            }
            Self::Unsubscribed(filters) => {
                out.byte(UNSUBSCRIBED);
                out.list(filters, |out, filter| out.text(filter));
            }
            Self::Arrived(ids) => {
                out.byte(ARRIVED);
                out.ids(ids);
            }
            Self::Freed(ids) => {
                out.byte(FREED);
                out.ids(ids);
            }
            Self::Released(places) => {
                out.byte(RELEASED);
                out.numbers(places);
            }
            Self::Settled(places) => {
                out.byte(SETTLED);
                out.numbers(places);
            }
            Self::Taken { place, share, elsewhere } => {
                out.byte(TAKEN);
                out.number(*place);
                out.text(share);
                out.flag(*elsewhere);
            }
            Self::WillDone(turn) => {
                out.byte(WILL_DONE);
                out.number(*turn);
            }
            Self::Kept(kept) => {
                out.byte(KEPT);
                out.number(kept.round);
                out.held(&kept.held);
                out.list(&kept.subscriptions, Out::subscription);
                out.ids(&kept.received);
                out.numbers(&kept.released);
            }
            Self::Waits(round, delivery) => {
                out.byte(WAITS);
                out.number(*round);
                out.delivery(delivery);
            }
        }
    }

    fn read_rest(input: &mut In<'_>) -> Option<Self> {
        Some(match input.byte()? {
            HELD => Self::Held(input.held()?),
            ENDED => Self::Ended(input.number()?),
            SUBSCRIBED => {
                Self::Subscribed(input.list(|input| Some((input.subscription()?, input.flag()?)))?)
            }
            UNSUBSCRIBED => Self::Unsubscribed(input.list(In::text)?),
            ARRIVED => Self::Arrived(input.list(In::id)?),
            FREED => Self::Freed(input.list(In::id)?),
            RELEASED => Self::Released(input.list(In::number)?),
            SETTLED => Self::Settled(input.list(In::number)?),
            TAKEN => {
                let (place, share) = (input.number()?, input.text()?);
                Self::Taken { place, share, elsewhere: input.flag()? }
            }
            WILL_DONE => Self::WillDone(input.number()?),
            KEPT => Self::Kept(Box::new(Kept {
                round: input.number()?,
                held: input.held()?,
                subscriptions: input.list(In::subscription)?,
                received: input.list(In::id)?,
                released: input.list(In::number)?,
            })),
            WAITS => {
                let round = input.number()?;
                Self::Waits(round, input.delivery()?)
            }
            _ => return None,
        })
    }
}

struct Out(Vec<u8>);

impl Out {
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    fn flag(&mut self, flag: bool) {
        self.byte(u8::from(flag));
    }

    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn time(&mut self, at: Option<Timestamp>) {
        self.flag(at.is_some());
        if let Some(at) = at {
            self.0.extend_from_slice(&at.as_micros().to_le_bytes());
        }
    }

    fn list<T>(&mut self, all: &[T], mut one: impl FnMut(&mut Self, &T)) {
        self.number(all.len() as u64);
        for item in all {
            one(self, item);
        }
    }

    fn ids(&mut self, ids: &[u16]) {
        self.list(ids, |out, id| out.number(u64::from(*id)));
    }

    fn numbers(&mut self, numbers: &[u64]) {
        self.list(numbers, |out, number| out.number(*number));
    }

    fn held(&mut self, held: &Held) {
        self.number(held.turn);
        self.0.extend_from_slice(held.credential.as_bytes());
        self.number(u64::from(held.keep_seconds));
        self.time(held.away_at);
        self.flag(held.clean);
        self.flag(held.will.is_some());
        let Some(will) = &held.will else { return };
        self.0.extend_from_slice(will.credential.as_bytes());
        self.flag(will.is_v5);
        self.text(&will.topic);
        self.bytes(&will.payload);
        self.byte(will.qos);
        self.flag(will.retain);
        self.bytes(&will.properties);
        self.number(u64::from(will.delay_seconds));
    }

    fn subscription(&mut self, subscription: &Subscription) {
        let Subscription { filter, kind, options, id } = subscription;
        self.text(filter);
        self.flag(*kind == FilterKind::Relay);
        self.byte(options.qos);
        self.flag(options.no_local);
        self.flag(options.retain_as_published);
        self.byte(options.retain_handling);
        self.number(id.map_or(0, u64::from));
    }

    fn delivery(&mut self, delivery: &Delivery) {
        self.text(&delivery.topic);
        self.bytes(&delivery.payload);
        self.bytes(&delivery.properties);
        self.time(delivery.expires_at);
        self.byte(delivery.qos);
        self.flag(delivery.retain);
        self.list(&delivery.ids, |out, id| out.number(u64::from(*id)));
        self.number(delivery.place.unwrap_or(u64::MAX));
    }
}

struct In<'a>(&'a [u8]);

impl In<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_at_checked(N)?;
        self.0 = rest;
        head.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn small(&mut self) -> Option<u32> {
        self.number()?.try_into().ok()
    }

    fn id(&mut self) -> Option<u16> {
        self.number()?.try_into().ok()
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        let count = usize::try_from(self.number()?).ok()?;
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head.to_vec())
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?).ok()
    }

    /// The outer one says whether it can be read.
    fn time(&mut self) -> Option<Option<Timestamp>> {
        if !self.flag()? {
            return Some(None);
        }
        let micros = self.array().map(i64::from_le_bytes)?;
        Some(Some(Timestamp::from_micros(micros)))
    }

    fn list<T>(&mut self, mut one: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = usize::try_from(self.number()?).ok()?;
        if count > ITEMS_MAX {
            return None;
        }
        (0..count).map(|_| one(self)).collect()
    }

    fn held(&mut self) -> Option<Held> {
        let (turn, credential) = (self.number()?, CredentialId::from_bytes(self.array()?));
        let (keep_seconds, away_at) = (self.small()?, self.time()?);
        let clean = self.flag()?;
        let will = if self.flag()? { Some(self.will()?) } else { None };
        Some(Held { turn, credential, keep_seconds, away_at, clean, will })
    }

    fn will(&mut self) -> Option<KeptWill> {
        Some(KeptWill {
            credential: CredentialId::from_bytes(self.array()?),
            is_v5: self.flag()?,
            topic: self.text()?,
            payload: self.bytes()?.into(),
            qos: self.byte()?,
            retain: self.flag()?,
            properties: self.bytes()?.into(),
            delay_seconds: self.small()?,
        })
    }

    fn subscription(&mut self) -> Option<Subscription> {
        let filter = self.text()?;
        let kind = if self.flag()? { FilterKind::Relay } else { FilterKind::Downlinks };
        let options = Options {
            qos: self.byte()?,
            no_local: self.flag()?,
            retain_as_published: self.flag()?,
            retain_handling: self.byte()?,
        };
        let id = Some(self.small()?).filter(|id| *id > 0);
        Some(Subscription { filter, kind, options, id })
    }

    fn delivery(&mut self) -> Option<Delivery> {
        Some(Delivery {
            topic: self.text()?.into(),
            payload: self.bytes()?.into(),
            properties: self.bytes()?.into(),
            expires_at: self.time()?,
            qos: self.byte()?,
            retain: self.flag()?,
            ids: self.list(Self::small)?,
            reserved: None,
            place: Some(self.number()?).filter(|place| *place < u64::MAX),
            again: true,
        })
    }
}

#[cfg(test)]
mod tests;
