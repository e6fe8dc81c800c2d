//! NDJSON and InfluxDB line protocol, whose lines name their devices and times: each line by
//! itself through the parser of bulk writes.

use std::ops::Range;

use bytes::Bytes;
use veritwin_domain::Reading;

use super::{FileForm, FileMapping, FileRules, Piece, Step, Taking};
use crate::arrivals::UNTIMED;
use crate::bulk::{BulkError, Precision, line_protocol, ndjson};

/// So close to the least moment a time is none that anything was measured at.
const UNTIMED_MICROS: i64 = 1 << 32;

/// A piece of lines.
pub(super) struct LineSource {
    body: Bytes,
    at: usize,
    /// The line that begins there, from 1 in the file.
    line: u64,
    form: FileForm,
    precision: Precision,
}

fn is_untimed(reading: &Reading) -> bool {
    reading.at.as_micros() < UNTIMED.as_micros() + UNTIMED_MICROS
}

impl LineSource {
    pub(super) fn open(mapping: &FileMapping, piece: Piece) -> Result<Self, BulkError> {
        if let Err(error) = std::str::from_utf8(&piece.body) {
            let breaks = piece.body[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n');
            let line = piece.before + breaks.count() as u64 + 1;
            let line = usize::try_from(line).unwrap_or(usize::MAX);
            return Err(BulkError::new(line, 1, "not UTF-8: expected text in UTF-8"));
        }
        let mut source = Self {
            body: piece.body,
            at: 0,
            line: piece.before + 1,
            form: mapping.form,
            precision: mapping.precision,
        };
        for _ in 0..piece.rows_taken {
            source.at = source.line_from(source.at).end;
            source.line += 1;
        }
        Ok(source)
    }

    /// The line that begins at `at`, with its break.
    fn line_from(&self, at: usize) -> Range<usize> {
        let rest = self.body.get(at..).unwrap_or_default();
        let end = rest.iter().position(|byte| *byte == b'\n');
        at..end.map_or(self.body.len(), |end| at + end + 1)
    }

    /// Takes one line: the place of its device, if it holds a reading.
    fn take(&self, text: &str, taking: &mut Taking<'_>) -> Result<Option<usize>, BulkError> {
        if text.trim().is_empty() || (self.form == FileForm::LineProtocol && text.starts_with('#'))
        {
            return Ok(None);
        }
        match self.form {
            FileForm::LineProtocol => line_protocol::parse(text, self.precision, &mut taking.rows)?,
            _ => ndjson::parse(text, &mut taking.rows)?,
        }
        let place = taking.rows.last;
        let (now, before) = taking.counted(place);
        let Some(device) = taking.rows.devices.get_mut(place) else { return Ok(None) };
        if device.readings.iter().skip(before).any(is_untimed) {
            device.readings.truncate(before);
            taking.counted(place);
            let detail =
                "no time: expected one in every line, since a backfill keeps the times of its file";
            return Err(BulkError::new(0, 1, detail));
        }
        taking.readings += now - before;
        Ok((now > before).then_some(place))
    }

    pub(super) fn step(&mut self, rules: &FileRules) -> Result<Step, BulkError> {
        let mut taking = Taking::new(rules);
        while taking.goes_on() && self.at < self.body.len() {
            let range = self.line_from(self.at);
            let end = range.end;
            // The whole of it was found to be UTF-8, and a break of lines is a letter by itself.
            let text = std::str::from_utf8(self.body.get(range).unwrap_or_default());
            match self.take(text.unwrap_or_default(), &mut taking) {
                Ok(place) => {
                    taking.step.rows += 1;
                    taking.step.rows_of.extend(place.map(|place| (place, self.line)));
                }
                Err(error) => taking.refuse(&error, self.line),
            }
            (self.at, self.line) = (end, self.line + 1);
        }
        let is_end = self.at >= self.body.len();
        Ok(taking.done(is_end))
    }
}
