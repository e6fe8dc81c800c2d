//! Messages that wait for their decoder: nothing else of the connection is read meanwhile, so that
//! their order stays, and then they are taken as if the device had written JSON.

use futures::FutureExt;

use super::device::{Close, Device};
use super::frame::PublishView;
use super::message::Refused;
use super::properties;
use super::retained::Fetched;
use super::topic::{self, DeviceTopic};
use crate::decoding::{DecodeError, RawPayload};
use crate::model::RefusalReason;

/// Where the message at the head of the input stands.
#[derive(Debug, Default)]
pub(super) enum Decode {
    /// It needs no decoder.
    #[default]
    None,
    /// It waits.
    Waits,
    /// It is read again, and this is what it means.
    Done(Result<Option<String>, String>),
}

impl Device {
    /// Whether a message has to wait for its decoder. Of a device without one that is one look.
    #[inline]
    pub(super) fn waits_for_decoder(&mut self, view: &PublishView<'_>) -> bool {
        let decoder = self.session.decoder.as_ref();
        decoder.is_some_and(|decoder| decoder.is_on()) && self.start_decoding(view)
    }

    fn start_decoding(&mut self, view: &PublishView<'_>) -> bool {
        if matches!(self.decode, Decode::Done(_)) {
            return false;
        }
        let Some(decoder) = &self.session.decoder else { return false };
        let topic = match topic::classify(view.topic, self.limits()) {
            // It has a short name, too.
            Ok(DeviceTopic::Telemetry) => topic::TELEMETRY,
            Ok(DeviceTopic::Relay) => view.topic,
            _ => return false,
        };
        if !decoder.wants(topic, None, view.payload) {
            return false;
        }
        let mut raw = RawPayload {
            topic: topic.to_owned(),
            bytes: view.payload.to_vec(),
            ..RawPayload::default()
        };
        // What is wrong with the properties is said when the message is taken.
        for (name, text) in properties::passed_on(view.properties).unwrap_or_default().texts {
            if let Some(name) = name {
                raw.meta.push((name.to_owned(), text.to_owned()));
            }
        }
        let decoder = decoder.clone();
        let decode = async move { Fetched::Decoded(decoder.decode(raw).await) };
        self.fetching.push(decode.boxed());
        self.decode = Decode::Waits;
        true
    }

    /// The message that waits is decoded, or refused; `Err` closes the connection, so that it is
    /// sent again.
    pub(super) fn decoded(
        &mut self,
        decoded: Result<Option<String>, DecodeError>,
    ) -> Result<(), Close> {
        let decoded = match decoded {
            Ok(json) => Ok(json),
            Err(error @ DecodeError::Refused { .. }) => Err(error.to_string()),
            Err(error @ DecodeError::Busy { .. }) => {
                return Err(Close::new(0x97, error.to_string()));
            }
            Err(error @ DecodeError::Unavailable(_)) => {
                return Err(Close::new(0x80, error.to_string()));
            }
        };
        self.decode = Decode::Done(decoded);
        Ok(())
    }

    /// Takes a message by what its decoder made of it. One that is relayed is so as it came.
    #[cold]
    pub(super) fn take_decoded(
        &mut self,
        decoded: Result<Option<String>, String>,
        view: &PublishView<'_>,
    ) -> Result<Option<usize>, Refused> {
        let json = decoded.map_err(|text| Refused::new(RefusalReason::Payload, text))?;
        let Some(json) = json else { return self.take_plain(view) };
        let message = match topic::classify(view.topic, self.limits())? {
            DeviceTopic::Relay => Some(self.relayable(view)?),
            _ => None,
        };
        self.telemetry(json.as_bytes()).map_err(Refused::of_decoded)?;
        let refusal_recorded = self.is_recorded(view);
        Ok(message.map(|message| self.push_relayed(message, refusal_recorded)))
    }
}
