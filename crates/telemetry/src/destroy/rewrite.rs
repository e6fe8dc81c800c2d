//! Writing one section anew without what is meant.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use veritwin_domain::DeviceId;
use veritwin_keys::FileKey;

use crate::TelemetryError;
use crate::catalog::{Pack, Section};
use crate::codec::Encoder;
use crate::engine::Inner;
use crate::flush::{new_file, section_scope};
use crate::merged::{Written, merge_device};
use crate::pace::Pace;
use crate::section::SectionWriter;
use crate::selection::{Meant, Selection};
use crate::values::Column;

/// A section without what is meant, under the key that its scope has now; none when nothing is
/// left. Work for a blocking thread.
pub(super) fn rewrite_section(
    inner: &Inner,
    selection: &Selection,
    section: &Arc<Section>,
    whole: &Bytes,
) -> Result<Option<Written>, TelemetryError> {
    let tenant = selection.tenant;
    let mut pace = Pace::new(inner, inner.limits.compaction_core_percent);
    let open = [inner.reader.open_whole(tenant, section, whole)?];
    let input = [(Arc::clone(section), whole.clone())];
    let place = (section.window, section.device);
    let dek = inner.reader.keys.dek(&section_scope(tenant, place));
    let dek = dek.map_err(TelemetryError::keys("seal a section anew"))?;
    let key = FileKey::derive(&dek, new_file(inner));
    let pack = Arc::new(Pack { file: new_file(inner) });
    let (mut bytes, mut encoder) = (Vec::new(), Encoder::new());
    let mut writer = SectionWriter::begin(&mut bytes, &mut encoder, tenant, key);
    let devices: BTreeSet<DeviceId> = open[0].directory.devices.keys().copied().collect();
    for device in devices {
        let mut series = merge_device(device, &input, &open, &mut pace)?;
        for (key, columns) in &mut series {
            let meant = selection.meant(device, key);
            if !matches!(meant, Meant::No) {
                let takes = |at| selection.takes(&meant, section.window, at);
                columns.iter_mut().for_each(|column| *column = without(column, takes));
            }
        }
        let columns = series.iter().flat_map(|(key, columns)| {
            let filled = columns.iter().filter(|column| !column.at.is_empty());
            filled.map(move |column| (key, column.as_ref()))
        });
        writer.device(device, columns, &mut pace)?;
    }
    if writer.is_empty() {
        return Ok(None);
    }
    let section = writer.finish(&pack, section.generation, place)?;
    Ok(Some((pack, section, bytes)))
}

/// The rows of a column that are not taken.
fn without(column: &Column, takes: impl Fn(i64) -> bool) -> Column {
    let whole = column.as_ref();
    let mut left = Column::empty(whole.values.kind());
    let mut from = 0;
    while from < whole.at.len() {
        let start = from + whole.at[from..].iter().take_while(|at| takes(**at)).count();
        let end = start + whole.at[start..].iter().take_while(|at| !takes(**at)).count();
        left.extend(whole.slice(start, end));
        from = end;
    }
    left
}

#[cfg(test)]
mod tests {
    use veritwin_domain::{Quality, Value};

    use super::*;
    use crate::values::Kind;

    #[test]
    fn what_is_not_taken_stays_with_its_quality() {
        let mut column = Column::empty(Kind::Integer);
        for at in 0..10 {
            let quality = if at == 7 { Quality::Bad } else { Quality::Good };
            column.push(at, &Value::Integer(at * 10), quality);
        }
        let left = without(&column, |at| at < 2 || (4..7).contains(&at));
        assert_eq!(left.at, [2, 3, 7, 8, 9]);
        assert_eq!(left.as_ref().values.get(2), Value::Integer(70));
        assert_eq!(left.as_ref().quality_at(2), Quality::Bad);
        assert_eq!(left.as_ref().quality_at(3), Quality::Good);
        assert!(without(&column, |_| true).at.is_empty());
    }
}
