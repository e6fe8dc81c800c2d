//! What several sections hold, series by series, each as columns with strictly rising times;
//! sections made of several, and the pack that they are in.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use veritwin_domain::{DeviceId, Key, TenantId};
use veritwin_keys::{Dek, DekScope, FileKey};

use crate::TelemetryError;
use crate::catalog::{Pack, Section, Window};
use crate::codec::Encoder;
use crate::engine::Inner;
use crate::flush::{new_file, section_scope};
use crate::pace::Pace;
use crate::reader::OpenSection;
use crate::section::SectionWriter;
use crate::sweep::{Sink, merge};
use crate::values::{Column, ColumnRef};

/// A section, and its bytes.
pub(crate) type Whole = (Arc<Section>, Bytes);
/// A pack with one section, and the pack's bytes.
pub(crate) type Written = (Arc<Pack>, Section, Vec<u8>);

/// Sections of a tenant that were read as a whole and become one.
pub(crate) struct Group {
    pub(crate) tenant: TenantId,
    pub(crate) place: (Window, Option<DeviceId>),
    pub(crate) inputs: Vec<Whole>,
}

/// A pack with the merged sections.
pub(crate) struct Merged {
    pub(crate) pack: Arc<Pack>,
    pub(crate) bytes: Vec<u8>,
    /// What each group became, in their order.
    pub(crate) sections: Vec<Result<Section, TelemetryError>>,
}

/// Merges each group; one that cannot be merged leaves nothing in the pack. All new keys become
/// durable in one write of the keyring. Work for a blocking thread.
pub(crate) fn merge_groups(inner: &Inner, groups: &[Group]) -> Merged {
    let mut pace = Pace::new(inner, inner.limits.compaction_core_percent);
    let scopes: Vec<DekScope> =
        groups.iter().map(|group| section_scope(group.tenant, group.place)).collect();
    let deks = inner.reader.keys.deks(&scopes);
    let pack = Arc::new(Pack { file: new_file(inner) });
    let (mut bytes, mut encoder) = (Vec::new(), Encoder::new());
    let mut sections = Vec::with_capacity(groups.len());
    for (group, dek) in groups.iter().zip(deks) {
        let start = bytes.len();
        let dek = dek.map_err(TelemetryError::keys("seal a merged segment"));
        let section = dek.and_then(|dek| {
            merge_sections((inner, &mut pace), group, &dek, (&pack, &mut bytes, &mut encoder))
        });
        if section.is_err() {
            bytes.truncate(start);
        }
        sections.push(section);
    }
    Merged { pack, bytes, sections }
}

fn merge_sections(
    (inner, pace): (&Inner, &mut Pace<'_>),
    Group { tenant, place, inputs }: &Group,
    dek: &Dek,
    (pack, bytes, encoder): (&Arc<Pack>, &mut Vec<u8>, &mut Encoder),
) -> Result<Section, TelemetryError> {
    let opened = inputs
        .iter()
        .map(|(section, whole)| {
            pace.step();
            inner.reader.open_whole(*tenant, section, whole)
        })
        .collect::<Result<Vec<OpenSection>, TelemetryError>>()?;
    let key = FileKey::derive(dek, new_file(inner));
    let mut writer = SectionWriter::begin(bytes, encoder, *tenant, key);
    let devices: BTreeSet<DeviceId> =
        opened.iter().flat_map(|open| open.directory.devices.keys().copied()).collect();
    for device in devices {
        let merged = merge_device(device, inputs, &opened, pace)?;
        let columns = merged
            .iter()
            .flat_map(|(key, columns)| columns.iter().map(move |column| (key, column.as_ref())));
        writer.device(device, columns, pace)?;
    }
    let generation = inputs.iter().map(|(section, _)| section.generation).max().unwrap_or(0);
    writer.finish(pack, generation, *place)
}

/// One device's series of sections, each merged into a column for each kind of value.
pub(crate) fn merge_device(
    device: DeviceId,
    inputs: &[Whole],
    opened: &[OpenSection],
    pace: &mut Pace<'_>,
) -> Result<Vec<(Key, Vec<Column>)>, TelemetryError> {
    let mut series: HashMap<Key, Vec<(u64, Column)>> = HashMap::new();
    for ((section, whole), open) in inputs.iter().zip(opened) {
        for entry in open.directory.devices.get(&device).into_iter().flatten() {
            for chunk in &entry.chunks {
                pace.step();
                let frame = |offset: u64, bytes: u32| {
                    let start = usize::try_from(offset - section.offset).unwrap_or(usize::MAX);
                    whole.get(start..start.saturating_add(bytes as usize)).unwrap_or_default()
                };
                let times = frame(chunk.times.offset, chunk.times.bytes);
                let values = frame(chunk.values.offset, chunk.values.bytes);
                let column = open.decode(device, &entry.key, chunk, [times, values], i64::MAX)?;
                let columns = series.entry(entry.key.clone()).or_default();
                columns.push((section.generation, column));
            }
        }
    }
    let mut merged: Vec<(Key, Vec<Column>)> = series
        .into_iter()
        .map(|(key, columns)| {
            pace.step();
            (key, merge_columns(columns))
        })
        .collect();
    merged.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(merged)
}

/// One column for each kind. Readings that came in their order give columns that lie behind one
/// another: what those hold is moved, and not copied.
fn merge_columns(columns: Vec<(u64, Column)>) -> Vec<Column> {
    let follows = |pair: &[(u64, Column)]| match pair {
        [(_, one), (_, next)] => one.at.last() < next.at.first(),
        _ => false,
    };
    if !columns.windows(2).all(follows) {
        let mut sink = CollectSink::default();
        merge(columns, &mut sink);
        return sink.columns;
    }
    let mut joined: Vec<Column> = Vec::new();
    for (_, column) in columns.into_iter().filter(|(_, column)| !column.at.is_empty()) {
        let kind = column.values.kind();
        match joined.iter_mut().find(|known| known.values.kind() == kind) {
            Some(known) => known.append(column),
            None => joined.push(column),
        }
    }
    joined
}

/// Collects a merged series into one column for each kind.
#[derive(Default)]
struct CollectSink {
    columns: Vec<Column>,
}

impl Sink for CollectSink {
    fn run(&mut self, run: ColumnRef<'_>) -> ControlFlow<()> {
        let kind = run.values.kind();
        match self.columns.iter_mut().find(|column| column.values.kind() == kind) {
            Some(column) => column.extend(run),
            None => self.columns.push(run.to_owned()),
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::Values;

    #[test]
    fn columns_behind_one_another_are_joined_as_they_would_be_merged() {
        let numbers = |at: &[i64], quality: &[u8]| Column {
            at: at.to_vec(),
            values: Values::Integer(at.iter().map(|at| at * 10).collect()),
            quality: quality.to_vec(),
        };
        let texts = |at: &[i64]| Column {
            at: at.to_vec(),
            values: Values::Text(at.iter().map(|at| at.to_string().into()).collect()),
            quality: Vec::new(),
        };
        let check = |columns: Vec<Column>, count: usize| {
            let columns: Vec<_> = (1..).zip(columns).collect();
            let mut sink = CollectSink::default();
            merge(columns.clone(), &mut sink);
            let merged = merge_columns(columns);
            assert_eq!(merged, sink.columns);
            assert_eq!(merged.iter().map(|column| column.at.len()).sum::<usize>(), count);
        };
        check(vec![], 0);
        check(vec![numbers(&[1, 2], &[]), numbers(&[3], &[]), numbers(&[7, 9], &[])], 5);
        check(vec![numbers(&[1, 2], &[]), numbers(&[3], &[1]), numbers(&[4], &[])], 4);
        check(vec![numbers(&[1], &[2]), texts(&[3, 4]), numbers(&[5], &[]), texts(&[6])], 5);
        check(vec![numbers(&[], &[]), texts(&[3, 4])], 2);
        // These do not: of equal times the later one wins.
        check(vec![numbers(&[1, 3], &[]), numbers(&[3, 4], &[1, 1])], 3);
        check(vec![numbers(&[5], &[]), texts(&[1, 5])], 2);
    }
}
