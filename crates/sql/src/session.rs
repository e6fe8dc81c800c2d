//! The session of one statement: three tables, the functions that are offered, one partition,
//! memory that is counted, no disk, no files, no catalog of its own.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SessionStateBuilder, SessionStateDefaults};
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use datafusion::prelude::{SessionConfig, SessionContext};
use veritwin_domain::Timestamp;

use crate::columns::{Table, ZONE};
use crate::gate::{AGGREGATES, SCALARS, WINDOWS};
use crate::table::{Reading, SeenTable};

/// Most rows that operators hand on at once: what they make of rows on their way is not counted.
pub(crate) const BATCH_ROWS: usize = 512;

/// A session for a statement that was asked at a moment.
pub(crate) fn open(
    reading: &Arc<Reading>,
    now: Timestamp,
    memory_bytes_max: usize,
) -> Result<SessionContext, DataFusionError> {
    let no_disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(GreedyMemoryPool::new(memory_bytes_max)))
        .with_disk_manager_builder(no_disk)
        .build_arc()?;
    let mut scalars = SessionStateDefaults::default_scalar_functions();
    scalars.retain(|function| SCALARS.contains(&function.name()) && function.name() != "now");
    scalars.push(Arc::new(clock(now)));
    let mut aggregates = SessionStateDefaults::default_aggregate_functions();
    aggregates.retain(|function| AGGREGATES.contains(&function.name()));
    let mut windows = SessionStateDefaults::default_window_functions();
    windows.retain(|function| WINDOWS.contains(&function.name()));
    let state = SessionStateBuilder::new()
        .with_config(config())
        .with_runtime_env(runtime)
        .with_expr_planners(SessionStateDefaults::default_expr_planners())
        .with_scalar_functions(scalars)
        .with_aggregate_functions(aggregates)
        .with_window_functions(windows)
        .build();
    let context = SessionContext::new_with_state(state);
    for table in [Table::Readings, Table::Latest, Table::Devices] {
        context.register_table(table.name(), Arc::new(SeenTable::new(table, reading)))?;
    }
    Ok(context)
}

/// One partition: what a statement may take of the processors is one thread.
fn config() -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_target_partitions(1)
        .with_batch_size(BATCH_ROWS)
        .with_information_schema(false)
        .with_create_default_catalog_and_schema(true)
        .with_default_catalog_and_schema("veritwin", "tenant");
    let options = config.options_mut();
    options.execution.enable_recursive_ctes = false;
    options.sql_parser.collect_spans = true;
    // Every reader of Arrow streams knows plain texts.
    options.sql_parser.map_string_types_to_utf8view = false;
    config
}

/// `now()`: the moment at which the statement was asked, the same in all of it. It is a constant to
/// the planner, so that bounds of time that are made with it narrow what is read.
fn clock(now: Timestamp) -> ScalarUDF {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some(ZONE.into()));
    let moment = ScalarValue::TimestampMicrosecond(Some(now.as_micros()), Some(ZONE.into()));
    let tell = move |_: &[ColumnarValue]| -> Result<ColumnarValue, DataFusionError> {
        Ok(ColumnarValue::Scalar(moment.clone()))
    };
    create_udf("now", Vec::new(), time, Volatility::Immutable, Arc::new(tell))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_that_is_offered_is_there() {
        let scalars: Vec<String> = SessionStateDefaults::default_scalar_functions()
            .iter()
            .map(|function| function.name().to_owned())
            .collect();
        let aggregates: Vec<String> = SessionStateDefaults::default_aggregate_functions()
            .iter()
            .map(|function| function.name().to_owned())
            .collect();
        let windows: Vec<String> = SessionStateDefaults::default_window_functions()
            .iter()
            .map(|function| function.name().to_owned())
            .collect();
        let missing = |offered: &[&str], there: &[String]| {
            let is_missing = |name: &&&str| !there.iter().any(|one| one == **name);
            offered.iter().filter(is_missing).map(|name| (*name).to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(missing(&SCALARS, &scalars), [""; 0]);
        assert_eq!(missing(&AGGREGATES, &aggregates), [""; 0]);
        assert_eq!(missing(&WINDOWS, &windows), [""; 0]);
    }
}
