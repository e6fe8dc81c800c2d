//! What several sections hold, series by series, each as columns with strictly rising times; a
//! section made of several.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use veritwin_domain::{DeviceId, Key, TenantId};
use veritwin_keys::FileKey;

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

/// Merges sections that were read as a whole. Work for a blocking thread.
pub(crate) fn merge_sections(
    inner: &Inner,
    tenant: TenantId,
    place: (Window, Option<DeviceId>),
    inputs: &[(Arc<Section>, Bytes)],
) -> Result<(Arc<Pack>, Section, Vec<u8>), TelemetryError> {
    let mut pace = Pace::new(inner, inner.limits.compaction_core_percent);
    let opened = inputs
        .iter()
        .map(|(section, whole)| {
            pace.step();
            inner.reader.open_whole(tenant, section, whole)
        })
        .collect::<Result<Vec<OpenSection>, TelemetryError>>()?;
    let dek = inner
        .reader
        .keys
        .dek(&section_scope(tenant, place))
        .map_err(TelemetryError::keys("seal a merged segment"))?;
    let key = FileKey::derive(&dek, new_file(inner));
    let pack = Arc::new(Pack { file: new_file(inner) });
    let (mut bytes, mut encoder) = (Vec::new(), Encoder::new());
    let mut writer = SectionWriter::begin(&mut bytes, &mut encoder, tenant, key);
    let devices: BTreeSet<DeviceId> =
        opened.iter().flat_map(|open| open.directory.devices.keys().copied()).collect();
    for device in devices {
        let merged = merge_device(device, inputs, &opened, &mut pace)?;
        let columns = merged
            .iter()
            .flat_map(|(key, columns)| columns.iter().map(move |column| (key, column.as_ref())));
        writer.device(device, columns, &mut pace)?;
    }
    let generation = inputs.iter().map(|(section, _)| section.generation).max().unwrap_or(0);
    let section = writer.finish(&pack, generation, place)?;
    Ok((pack, section, bytes))
}

/// One device's series of sections, each merged into a column for each kind of value.
pub(crate) fn merge_device(
    device: DeviceId,
    inputs: &[(Arc<Section>, Bytes)],
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
            let mut sink = CollectSink::default();
            merge(columns, &mut sink);
            (key, sink.columns)
        })
        .collect();
    merged.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(merged)
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
