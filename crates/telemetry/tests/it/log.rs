//! With the real log: what is appended can be read at once, survives a restart, and the log may be
//! cut where the segments begin.

use std::sync::Arc;

use veritwin_domain::Value;
use veritwin_log::{Entry, FileLog, LogConfig};
use veritwin_telemetry::{Engine, TelemetryError, TimeRange};

use crate::support::{Setup, TODAY, batch, device, reading, runtime, series, tenant};

fn open_log(setup: &Setup, engine: &Engine) -> FileLog {
    let config = LogConfig::new(
        setup.directory.path().join("log"),
        setup.keys.clone(),
        setup.clock.clone(),
        setup.rng.clone(),
    );
    FileLog::open(config, vec![engine.observer()]).expect("the log opens")
}

async fn append(log: &FileLog, number: i64) {
    let readings = vec![reading("n", TODAY + number, Value::Integer(number))];
    log.append(vec![Entry::from(batch(0, 0, readings))]).await.expect("appends");
}

async fn count(engine: &Engine) -> u64 {
    engine.stats(&series(0, 0, "n"), TimeRange::ALL).await.expect("answers").count
}

#[test]
fn readings_survive_restarts_with_and_without_a_flush() {
    runtime().block_on(async {
        let setup = Setup::new();
        let engine = setup.open().await;
        let log = open_log(&setup, &engine);
        for number in 0..5 {
            append(&log, number).await;
            assert_eq!(count(&engine).await as i64, number + 1, "reads see what was written");
        }
        let persisted = engine.flush().await.expect("flushes");
        assert_eq!(persisted, log.tail_position());
        append(&log, 5).await;
        log.truncate_before(persisted).expect("the log may be cut here");
        log.close();
        drop((log, engine));

        let engine = setup.open().await;
        let log = open_log(&setup, &engine);
        assert_eq!(count(&engine).await, 5);
        let recovering = tokio::spawn({
            let (engine, log) = (engine.clone(), log.clone());
            async move { engine.recover(&log).await }
        });
        recovering.await.expect("runs").expect("recovers");
        assert_eq!(count(&engine).await, 6);
        append(&log, 6).await;
        assert_eq!(count(&engine).await, 7);
        let latest = engine.latest(tenant(0), device(0), None).await.expect("answers");
        assert_eq!(latest[0].value, Value::Integer(6));
    });
}

#[test]
fn a_log_that_does_not_continue_the_segments_is_refused() {
    runtime().block_on(async {
        let setup = Setup::new();
        let engine = setup.open().await;
        let log = open_log(&setup, &engine);
        append(&log, 0).await;
        engine.flush().await.expect("flushes");
        log.close();
        drop((log, engine));
        std::fs::remove_dir_all(setup.directory.path().join("log")).expect("removes the log");
        let engine = setup.open().await;
        let log = open_log(&setup, &engine);
        let error = engine.recover(&log).await.expect_err("positions would repeat");
        assert!(matches!(error, TelemetryError::LogMismatch { .. }), "{error}");
    });
}

#[test]
fn what_was_never_applied_stays_in_the_log() {
    runtime().block_on(async {
        let setup = Setup::new();
        let engine = setup.open().await;
        let log = open_log(&setup, &engine);
        append(&log, 0).await;
        log.close();
        drop((log, engine));
        // Opened without recovery: the first entry is passed over, the second arrives.
        let engine = setup.open().await;
        let log = open_log(&setup, &engine);
        append(&log, 1).await;
        assert_eq!(engine.flush().await.expect("flushes"), 0);
        log.close();
        drop((log, engine));
        let engine = setup.open().await;
        let log = open_log(&setup, &engine);
        engine.recover(&log).await.expect("recovers");
        assert_eq!(count(&engine).await, 2);
        assert_eq!(engine.flush().await.expect("flushes"), 2);
    });
}

#[test]
fn entries_of_a_withdrawn_tenant_stay_in_the_log_until_they_can_be_read() {
    runtime().block_on(async {
        let setup = Setup::new();
        let engine = setup.open().await;
        let log = open_log(&setup, &engine);
        append(&log, 0).await;
        append(&log, 1).await;
        log.close();
        drop((log, engine));
        setup.keys.revoke(tenant(0)).expect("revokes");
        let engine = setup.open().await;
        let log = open_log(&setup, &engine);
        engine.recover(&log).await.expect("others recover");
        let other = vec![reading("n", TODAY, Value::Integer(7))];
        log.append(vec![Entry::from(batch(1, 0, other))]).await.expect("others append");
        assert_eq!(engine.flush().await.expect("others flush"), 0);
        log.close();
        drop((log, engine));
        setup.keys.restore(tenant(0)).expect("restores");
        let engine = setup.open().await;
        let log = open_log(&setup, &engine);
        engine.recover(&log).await.expect("recovers");
        assert_eq!(count(&engine).await, 2);
        assert_eq!(engine.flush().await.expect("flushes"), 3);
    });
}

#[test]
fn entries_that_hold_no_readings_move_the_position() {
    runtime().block_on(async {
        let setup = Setup::new();
        let engine = setup.open().await;
        let log = open_log(&setup, &engine);
        let event = veritwin_log::SessionEvent {
            device: device(0),
            credential: veritwin_domain::CredentialId::from_bytes([1; 16]),
            kind: veritwin_log::SessionEventKind::Connected,
            at: veritwin_domain::Timestamp::from_micros(TODAY),
        };
        let entry = Entry { tenant: tenant(0), record: veritwin_log::Record::Session(event) };
        log.append(vec![entry]).await.expect("appends");
        assert_eq!(engine.flush().await.expect("flushes"), log.tail_position());
        assert_eq!(Arc::clone(&setup.store).to_string(), "InMemory");
    });
}

#[test]
fn a_log_that_was_thinned_gives_back_what_waits_for_its_key_and_nothing_twice() {
    runtime().block_on(async {
        let setup = Setup::new();
        let engine = setup.open().await;
        let log = open_log(&setup, &engine);
        let other = |number: i64| {
            let readings = vec![reading("n", TODAY + number, Value::Integer(number))];
            vec![Entry::from(batch(1, 0, readings))]
        };
        append(&log, 0).await;
        log.append(other(0)).await.expect("appends");
        append(&log, 1).await;
        log.append(other(1)).await.expect("appends");
        setup.keys.revoke(tenant(0)).expect("revokes");
        engine.set_aside(tenant(0));
        log.close();
        drop((log, engine));

        let engine = setup.open().await;
        let log = open_log(&setup, &engine);
        engine.recover(&log).await.expect("recovers");
        assert_eq!(engine.flush().await.expect("others flush"), 0);
        let (front, own) = engine.log_needs();
        assert_eq!((front, own.clone()), (log.tail_position(), vec![(tenant(0), 0)]));
        let thinned = log.thin_before(front, &own.into_iter().collect()).expect("thins");
        assert_eq!(thinned.files, 1);
        log.append(other(2)).await.expect("others append");
        // As killed: nothing is flushed.
        drop((log, engine));

        let engine = setup.open().await;
        let log = open_log(&setup, &engine);
        engine.recover(&log).await.expect("recovers");
        let of_other = engine.stats(&series(1, 0, "n"), TimeRange::ALL).await.expect("answers");
        assert_eq!(of_other.count, 3);
        setup.keys.restore(tenant(0)).expect("restores");
        assert_eq!(engine.catch_up(&log).await.expect("catches up"), 1);
        assert_eq!(count(&engine).await, 2);
        let latest = engine.latest(tenant(0), device(0), None).await.expect("answers");
        assert_eq!(latest[0].value, Value::Integer(1));
        assert_eq!(engine.flush().await.expect("flushes"), log.tail_position());
        assert_eq!(engine.log_needs(), (log.tail_position(), Vec::new()));
    });
}
