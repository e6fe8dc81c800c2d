//! An Arrow IPC stream of one text under one key, for the door that takes such streams. It is put
//! together here: the crates that make any stream are no part of the product.

/// Its Content-Type.
pub(super) const CONTENT_TYPE: &str = "application/vnd.apache.arrow.stream";

/// Kinds of messages, the version V5, and the type of a column of texts.
const SCHEMA: u8 = 1;
const RECORD_BATCH: u8 = 3;
const V5: u8 = 4;
const UTF8: u8 = 5;
/// Bytes of each field of a table, and of what stands before them.
const SLOT: usize = 8;

/// A part of a FlatBuffer.
enum Part<'a> {
    Byte(u8),
    Long(i64),
    Text(&'a str),
    Table(Vec<Field<'a>>),
    Tables(Vec<Vec<Field<'a>>>),
    /// Pairs of numbers.
    Pairs(&'a [[i64; 2]]),
}

/// A field of a table, by its number.
type Field<'a> = (usize, Part<'a>);

/// A row with this text in a column with this name.
pub(super) fn stream(key: &str, text: &str) -> Vec<u8> {
    let column = vec![
        (0, Part::Text(key)),
        (1, Part::Byte(1)),
        (2, Part::Byte(UTF8)),
        (3, Part::Table(Vec::new())),
    ];
    let mut stream = message(SCHEMA, vec![(1, Part::Tables(vec![column]))], &[]);
    let length = i32::try_from(text.len()).unwrap_or_default();
    // The offsets of the text, then the text.
    let mut body = [0, length].map(i32::to_le_bytes).concat();
    body.extend_from_slice(text.as_bytes());
    align(&mut body, SLOT);
    let buffers = [[0, 0], [0, 8], [8, i64::from(length)]];
    let batch = vec![(0, Part::Long(1)), (1, Part::Pairs(&[[1, 0]])), (2, Part::Pairs(&buffers))];
    stream.extend(message(RECORD_BATCH, batch, &body));
    stream
}

fn message(kind: u8, header: Vec<Field<'_>>, body: &[u8]) -> Vec<u8> {
    let length = i64::try_from(body.len()).unwrap_or_default();
    let root = Part::Table(vec![
        (0, Part::Byte(V5)),
        (1, Part::Byte(kind)),
        (2, Part::Table(header)),
        (3, Part::Long(length)),
    ]);
    let mut metadata = vec![0; 4];
    let place = emit(&mut metadata, &root);
    put(&mut metadata, 0, &distance(0, place));
    align(&mut metadata, SLOT);
    [&[0xff; 4][..], &distance(0, metadata.len()), &metadata, body].concat()
}

fn align(out: &mut Vec<u8>, bytes: usize) {
    out.resize(out.len().next_multiple_of(bytes), 0);
}

fn put(out: &mut [u8], place: usize, bytes: &[u8]) {
    out.iter_mut().skip(place).zip(bytes).for_each(|(to, from)| *to = *from);
}

/// How far it is, as references and lengths are written.
fn distance(from: usize, to: usize) -> [u8; 4] {
    u32::try_from(to.saturating_sub(from)).unwrap_or_default().to_le_bytes()
}

fn short(number: usize) -> [u8; 2] {
    u16::try_from(number).unwrap_or_default().to_le_bytes()
}

/// Writes a part behind what there is; where it begins.
fn emit(out: &mut Vec<u8>, part: &Part<'_>) -> usize {
    match part {
        Part::Byte(byte) => {
            out.push(*byte);
            out.len() - 1
        }
        Part::Long(number) => {
            align(out, SLOT);
            out.extend_from_slice(&number.to_le_bytes());
            out.len() - SLOT
        }
        Part::Text(text) => {
            align(out, 4);
            let place = out.len();
            out.extend_from_slice(&distance(0, text.len()));
            out.extend_from_slice(text.as_bytes());
            out.push(0);
            place
        }
        Part::Pairs(pairs) => {
            align(out, SLOT);
            // Their number stands right before them.
            out.extend_from_slice(&[0; 4]);
            let place = out.len();
            out.extend_from_slice(&distance(0, pairs.len()));
            pairs.iter().flatten().for_each(|one| out.extend_from_slice(&one.to_le_bytes()));
            place
        }
        Part::Tables(tables) => {
            align(out, 4);
            let place = out.len();
            out.extend_from_slice(&distance(0, tables.len()));
            out.resize(out.len() + 4 * tables.len(), 0);
            for (index, fields) in tables.iter().enumerate() {
                let slot = place + 4 + 4 * index;
                let at = table(out, fields);
                put(out, slot, &distance(slot, at));
            }
            place
        }
        Part::Table(fields) => table(out, fields),
    }
}

fn table(out: &mut Vec<u8>, fields: &[Field<'_>]) -> usize {
    let slot_of = |index: usize| SLOT * (index + 1);
    let numbers = fields.iter().map(|(number, _)| number + 1).max().unwrap_or_default();
    align(out, 4);
    let directory = out.len();
    out.extend_from_slice(&short(4 + 2 * numbers));
    out.extend_from_slice(&short(slot_of(fields.len())));
    for number in 0..numbers {
        let index = fields.iter().position(|(of, _)| *of == number);
        out.extend_from_slice(&short(index.map(slot_of).unwrap_or_default()));
    }
    align(out, SLOT);
    let place = out.len();
    out.extend_from_slice(&distance(directory, place));
    out.resize(place + slot_of(fields.len()), 0);
    for (index, (_, part)) in fields.iter().enumerate() {
        let slot = place + slot_of(index);
        match part {
            Part::Byte(byte) => put(out, slot, &[*byte]),
            Part::Long(number) => put(out, slot, &number.to_le_bytes()),
            part => {
                let at = emit(out, part);
                put(out, slot, &distance(slot, at));
            }
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use veritwin_domain::{IngestLimits, Screening, Timestamp, Value};
    use veritwin_ingest::bulk::{BulkContext, Format, parse};

    #[test]
    fn the_door_reads_what_is_made_here() {
        let limits = IngestLimits::default();
        let at = Timestamp::from_micros(1_700_000_000_000_000);
        let context = BulkContext {
            received_at: at,
            untimed_at: at,
            limits: &limits,
            one_device: true,
            screening: Screening::ALL,
        };
        for (key, text) in [("note", "é"), ("a longer name", "")] {
            let rows = parse(Format::Arrow, &super::stream(key, text), context);
            let rows = rows.unwrap_or_else(|error| panic!("{key}: {error}"));
            let reading = &rows[0].readings[0];
            assert_eq!((&*reading.key, &reading.value), (key, &Value::Text(text.into())));
        }
        let error = parse(Format::Arrow, &super::stream("religion", "none"), context).unwrap_err();
        assert!(error.rule.is_some() && error.column == 1, "{error}");
    }
}
