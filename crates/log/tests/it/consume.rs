//! Consumers: no gap, no duplicate, whether they keep up, start late or fall behind.

use veritwin_log::{Consumer, FileLog, LogError};

use crate::support::{Fixture, entry, number, numbers};

const PRODUCERS: i64 = 4;
const APPENDS: i64 = 50;

async fn read_until(consumer: &mut Consumer, end: u64) -> Vec<i64> {
    let mut numbers = Vec::new();
    while consumer.position() < end {
        let expected = consumer.position();
        let batch = consumer.next().await.unwrap().unwrap();
        assert_eq!(batch.first, expected);
        assert_eq!(batch.end(), consumer.position());
        numbers.extend(batch.entries.iter().map(|entry| number(entry)));
    }
    numbers
}

async fn produce(log: FileLog, producer: i64) {
    for append in 0..APPENDS {
        let number = producer * 1000 + append * 2;
        log.append(vec![entry(1, number), entry(2, number + 1)]).await.unwrap();
    }
}

async fn check(recent_bytes_max: usize) {
    let fixture = Fixture::new();
    let mut config = fixture.config();
    config.recent_bytes_max = recent_bytes_max;
    config.file_bytes_max = 4000;
    let log = FileLog::open(config, Vec::new()).unwrap();
    log.append(vec![entry(3, -1)]).await.unwrap();
    let end = 1 + (PRODUCERS * APPENDS * 2) as u64;
    let producers = (0..PRODUCERS).map(|producer| tokio::spawn(produce(log.clone(), producer)));
    let producers: Vec<_> = producers.collect();
    let mut early = log.consumer(0).unwrap();
    let early = tokio::spawn(async move { read_until(&mut early, end).await });
    for producer in producers {
        producer.await.unwrap();
    }
    let early = early.await.unwrap();
    let mut late = log.consumer(0).unwrap();
    assert_eq!(read_until(&mut late, end).await, early);
    let mut middle = log.consumer(end / 2).unwrap();
    assert_eq!(read_until(&mut middle, end).await, early[(end / 2) as usize..]);
    assert_eq!(numbers(&log, 0), early);
    for producer in 0..PRODUCERS {
        let own: Vec<i64> =
            early.iter().copied().filter(|n| *n >= 0 && n / 1000 == producer).collect();
        let expected: Vec<i64> = (0..2 * APPENDS).map(|n| producer * 1000 + n).collect();
        assert_eq!(own, expected, "in the order of its producer, nothing missing, nothing twice");
    }
    // Waiting at the end, a consumer sees the next entry and then the log's end.
    let waiting = tokio::spawn(async move {
        let batch = late.next().await.unwrap().unwrap();
        (number(&batch.entries[0]), late.next().await.unwrap().is_none())
    });
    log.append(vec![entry(1, 7777)]).await.unwrap();
    log.close();
    assert_eq!(waiting.await.unwrap(), (7777, true));
    assert!(matches!(log.append(vec![entry(1, 0)]).await, Err(LogError::Closed)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_that_are_served_from_memory() {
    check(64 * 1024 * 1024).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_that_fall_behind_read_files() {
    check(1).await;
}

#[tokio::test]
async fn a_consumer_is_told_when_its_position_is_gone() {
    let fixture = Fixture::new();
    for number in 0..3 {
        fixture.open().append(vec![entry(1, number)]).await.unwrap();
    }
    let log = fixture.open();
    let mut consumer = log.consumer(0).unwrap();
    log.truncate_before(2).unwrap();
    let error = consumer.next().await.unwrap_err();
    assert!(matches!(error, LogError::Truncated { requested: 0, first: 2 }), "{error}");
    assert!(matches!(log.consumer(1), Err(LogError::Truncated { .. })));
    assert!(matches!(log.consumer(9), Err(LogError::BeyondTail { .. })));
    assert_eq!(read_until(&mut log.consumer(2).unwrap(), 3).await, [2]);
}

#[tokio::test]
async fn a_reader_goes_on_with_what_came_since() {
    let fixture = Fixture::new();
    let mut config = fixture.config();
    config.file_bytes_max = 4000;
    let log = FileLog::open(config, Vec::new()).unwrap();
    log.append(vec![entry(1, 0)]).await.unwrap();
    let mut reader = log.read_from(0).unwrap();
    let mut found = Vec::new();
    for next in 1..200 {
        while let Some(batch) = reader.next_batch().unwrap() {
            found.extend(batch.entries.iter().map(|entry| number(entry)));
        }
        assert_eq!(found, (0..next).collect::<Vec<_>>(), "over more than one file");
        log.append(vec![entry(1, next)]).await.unwrap();
        reader.extend();
    }
}
