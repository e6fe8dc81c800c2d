//! Histories under way: what whoever reads on may see is looked at before each step.

use super::*;
use crate::Error;
use crate::model::{HistoryQuery, QualityFilter, SeriesId};

/// More series than one step reads.
const SERIES: usize = 6;

fn query(customer: &Customer, bucket_micros: Option<i64>) -> HistoryQuery {
    let one = SeriesId { device: customer.device, key: Key::new(KEY).expect("a key") };
    HistoryQuery {
        series: vec![one; SERIES],
        from: Timestamp::MIN,
        to: Timestamp::MAX,
        bucket_micros,
        points_max: None,
        limit: 10,
        descending: false,
        down: None,
        line_points_max: None,
        quality: QualityFilter::Any,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_no_more_reads_no_further() {
    let world = World::new().await;
    let (customer, other) = (world.customer("One").await, world.customer("Two").await);
    world.send_all(&customer, &[1.0, 2.0]).await;
    let viewer = customer.somebody(Role::Operator);
    for bucket_micros in [None, Some(1_000_000)] {
        let asked = || world.app.history(&viewer, query(&customer, bucket_micros));
        let mut reader = asked().await.expect("answers");
        let mut count = 0;
        while !reader.reads_next() {
            reader.next_series().await.expect("answers").expect("a series");
            count += 1;
        }
        assert!((1..SERIES).contains(&count), "{count}");
        let refused = reader.go_on_as(other.context.clone()).expect_err("another tenant");
        assert!(matches!(refused, Error::NotFound(_)), "{refused}");
        let nothing = Actor::without_roles(viewer.actor.kind.clone());
        let context = OpContext { actor: nothing, ..viewer.clone() };
        reader.go_on_as(context).expect("the same tenant");
        reader.next_series().await.expect_err("no rights any more");

        let mut reader = asked().await.expect("answers");
        let mut count = 0;
        while let Some(series) = reader.next_series().await.expect("answers") {
            assert_eq!(series.series.device, customer.device);
            count += 1;
            reader.go_on_as(viewer.clone()).expect("the same tenant");
        }
        assert_eq!((count, reader.reads_next()), (SERIES, false));
    }
    world.app.close().await;
}

/// One message with a reading each of so many series.
fn batch_of(world: &World, customer: &Customer, series: std::ops::Range<usize>) -> DeviceBatch {
    let now = world.app.clock().now();
    let reading = |number: usize| Reading {
        key: Key::new(&format!("k{number}")).expect("a key"),
        at: now,
        value: Value::Double(1.0),
        quality: Quality::Good,
    };
    DeviceBatch {
        tenant: customer.tenant(),
        device: customer.device,
        credential: CredentialId::from_bytes([1; 16]),
        received_at: now,
        readings: series.map(reading).collect(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_series_are_refused_by_name_and_known_ones_go_on() {
    let world = World::new().await;
    let (customer, other) = (world.customer("One").await, world.customer("Two").await);
    let submit = async |customer: &Customer, series| {
        let batch = batch_of(&world, customer, series);
        world.app.submit(customer.tenant(), vec![Submission::Readings(batch)]).await
    };
    submit(&customer, 0..8_000).await.expect("there are 10,000");
    submit(&customer, 0..8_000).await.expect("known ones");
    let refused = submit(&customer, 8_000..8_001).await.expect_err("three times what is free");
    assert!(matches!(&refused, Error::Limit(limit) if limit.name == "tenant_series_max"));
    let (tenant, device) = (customer.tenant(), Some(customer.device));
    let one = batch_of(&world, &customer, 8_000..8_001).readings;
    let refused = world.app.check_storage(tenant, device, &one).expect_err("a device's, too");
    assert!(matches!(&refused, Error::StorageFull(limit) if limit.name == "tenant_series_max"));
    let mut long = batch_of(&world, &other, 0..65);
    for reading in &mut long.readings {
        reading.value = Value::Text("x".repeat(64 * 1024).into());
    }
    let refused = world.app.submit(other.tenant(), vec![Submission::Readings(long)]).await;
    let refused = refused.expect_err("texts stay in memory as long as they are the latest");
    assert!(matches!(&refused, Error::Limit(limit) if limit.name == "latest_bytes_max"));
    submit(&other, 0..100).await.expect("there are some for others");
    let refused = submit(&other, 100..2_100).await.expect_err("all of them");
    assert!(matches!(&refused, Error::Limit(limit) if limit.name == "series_max"));
    world.app.close().await;
}
