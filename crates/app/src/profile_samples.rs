//! The test bench: a decoder, stored or not, is tried on payloads that a person gives, and nothing
//! of it is kept.

use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use veritwin_access::{Action, Kind};
use veritwin_domain::{LimitExceeded, OpContext};
use veritwin_script::{Decoder, Payload, SOURCE_BYTES_MAX, decoded_json};

use crate::decoders::fault;
use crate::devices::check_text;
use crate::model::{DecoderFault, SamplePayload, SampleResult};
use crate::{App, Error, Result};

/// Most samples of a profile, or of one try.
const PROFILE_SAMPLES_MAX: usize = 20;
/// Longest sample, as it is written, in bytes; and longest text of what should come out.
const SAMPLE_BYTES_MAX: usize = 8 * 1024;
/// Longest samples of a profile together, with what should come out: every version keeps them.
const SAMPLES_BYTES_MAX: usize = 32 * 1024;
const NAME_CHARS_MAX: usize = 100;
const TOPIC_CHARS_MAX: usize = 256;
const TELEMETRY: &str = "v1/devices/me/telemetry";

/// Refuses samples that are too many, too long, or not what their format says.
pub(crate) fn check_samples(samples: &[SamplePayload]) -> Result<()> {
    let (max, actual) = (PROFILE_SAMPLES_MAX, samples.len());
    if actual > max {
        return Err(Error::Limit(LimitExceeded { name: "profile_samples_max", max, actual }));
    }
    for (index, sample) in samples.iter().enumerate() {
        let at = |field: &str| format!("samples[{index}].{field}");
        check_text(&at("name"), &sample.name, NAME_CHARS_MAX)?;
        check_text(&at("topic"), &sample.topic, TOPIC_CHARS_MAX)?;
        if !matches!(sample.format.as_str(), "hex" | "base64" | "text") {
            return Err(Error::invalid_at(at("format"), "hex, base64 or text"));
        }
        let longest = sample.data.len().max(sample.expected.as_ref().map_or(0, String::len));
        if longest > SAMPLE_BYTES_MAX {
            let (name, max, actual) = ("profile_sample_bytes_max", SAMPLE_BYTES_MAX, longest);
            return Err(Error::Limit(LimitExceeded { name, max, actual }));
        }
    }
    let bytes = |one: &SamplePayload| one.data.len() + one.expected.as_ref().map_or(0, String::len);
    let (max, actual) = (SAMPLES_BYTES_MAX, samples.iter().map(bytes).sum::<usize>());
    if actual > max {
        return Err(Error::Limit(LimitExceeded { name: "profile_samples_bytes_max", max, actual }));
    }
    Ok(())
}

fn bytes_of(sample: &SamplePayload) -> std::result::Result<Vec<u8>, DecoderFault> {
    let wrong = |detail: &str| DecoderFault {
        kind: "sample",
        line: None,
        column: None,
        detail: detail.to_owned(),
        thrown: None,
    };
    let dense = || sample.data.chars().filter(|one| !one.is_whitespace()).collect::<String>();
    match sample.format.as_str() {
        "hex" => hex::decode(dense())
            .map_err(|_| wrong("the sample: expected an even count of hexadecimal digits")),
        "base64" => {
            STANDARD.decode(dense()).map_err(|_| wrong("the sample: expected Base64 with padding"))
        }
        _ => Ok(sample.data.clone().into_bytes()),
    }
}

/// Whether two texts are the same JSON; one point of time may stand without its array.
fn is_same(expected: &str, decoded: &str) -> bool {
    let read = |text: &str| match serde_json::from_str(text) {
        Ok(serde_json::Value::Array(points)) => Some(points),
        Ok(one) => Some(vec![one]),
        Err(_) => None,
    };
    read(expected).is_some_and(|expected| read(decoded) == Some(expected))
}

fn run(decoder: &Decoder, sample: &SamplePayload) -> std::result::Result<String, DecoderFault> {
    let bytes = bytes_of(sample)?;
    let topic = if sample.topic.is_empty() { TELEMETRY } else { &sample.topic };
    let payload = Payload { bytes: &bytes, topic, ..Payload::default() };
    decoder.run(&payload).map(|decoded| decoded_json(&decoded)).map_err(fault)
}

/// Tries a decoder on a sample. That it does not compile is the fault of each.
fn try_one(
    decoder: &std::result::Result<Decoder, DecoderFault>,
    sample: SamplePayload,
) -> SampleResult {
    let result = decoder.as_ref().map_err(Clone::clone);
    let result = result.and_then(|decoder| run(decoder, &sample));
    let matches = sample
        .expected
        .as_ref()
        .map(|expected| result.as_ref().is_ok_and(|decoded| is_same(expected, decoded)));
    SampleResult { name: sample.name, result, matches }
}

impl App {
    /// Tries a decoder on samples, without any on nothing; nothing is kept. Each sample has a turn
    /// of its own: whose payloads wait do not wait for all of them.
    #[boxed]
    pub async fn try_decoder(
        &self,
        context: &OpContext,
        source: String,
        samples: Vec<SamplePayload>,
    ) -> Result<Vec<SampleResult>> {
        let resource = self.authorize_all(context, Action::DecoderWrite, Kind::Tenant)?;
        let (max, actual) = (SOURCE_BYTES_MAX, source.len());
        if actual > max {
            let name = "decoder_source_bytes_max";
            return Err(Error::Limit(LimitExceeded { name, max, actual }));
        }
        check_samples(&samples)?;
        let samples = if samples.is_empty() { vec![SamplePayload::default()] } else { samples };
        let turns = &self.0.decoders.work;
        let compile = move || Decoder::compile(&source).map_err(fault);
        let decoder = Arc::new(turns.run(context.tenant, actual, compile).await?);
        let mut results = Vec::with_capacity(samples.len());
        for sample in samples {
            let decoder = Arc::clone(&decoder);
            let (bytes, work) = (sample.data.len(), move || try_one(&decoder, sample));
            results.push(turns.run(context.tenant, bytes, work).await?);
        }
        // Nothing is written: the record says that somebody looked.
        self.note(context, Action::DecoderRead, &resource, "done");
        Ok(results)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(format: &str, data: &str, expected: Option<&str>) -> SamplePayload {
        SamplePayload {
            format: format.to_owned(),
            data: data.to_owned(),
            expected: expected.map(str::to_owned),
            ..SamplePayload::default()
        }
    }

    #[test]
    fn a_decoder_is_tried_on_samples() {
        let source = "#{ t: payload.u16be(0) / 10.0 }";
        let samples = vec![
            sample("hex", "00 d7", Some(r#"{"t": 21.5}"#)),
            sample("base64", "ANc=", Some(r#"[{"t": 21.6}]"#)),
            sample("text", "x", None),
            sample("hex", "0", None),
        ];
        let try_all = |source: &str, samples: Vec<SamplePayload>| -> Vec<SampleResult> {
            let decoder = Decoder::compile(source).map_err(fault);
            samples.into_iter().map(|sample| try_one(&decoder, sample)).collect()
        };
        let results = try_all(source, samples);
        assert_eq!(results[0].result.as_deref(), Ok(r#"[{"t":21.5}]"#));
        let matches: Vec<Option<bool>> = results.iter().map(|one| one.matches).collect();
        assert_eq!(matches, [Some(true), Some(false), None, None]);
        assert_eq!(results[2].result.as_ref().unwrap_err().line, Some(1));
        assert_eq!(results[3].result.as_ref().unwrap_err().kind, "sample");
        let nothing = try_all("let", vec![sample("text", "", None)]);
        assert_eq!(nothing[0].result.as_ref().unwrap_err().kind, "source");
    }

    #[test]
    fn samples_are_bounded_together() {
        let long = "x".repeat(SAMPLE_BYTES_MAX);
        let mut samples = vec![sample("text", &long, None); SAMPLES_BYTES_MAX / SAMPLE_BYTES_MAX];
        assert!(check_samples(&samples).is_ok());
        samples.push(sample("text", "", Some("1")));
        assert!(matches!(
            check_samples(&samples),
            Err(Error::Limit(LimitExceeded { name: "profile_samples_bytes_max", .. }))
        ));
    }
}
