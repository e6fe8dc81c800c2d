//! What earlier runs found is read back at the start, and what of it is shown.

use veritwin_metastore::PromiseEvidence;

use super::*;

/// A run of a check as an older or newer platform stored it, at a later moment than those before.
async fn stored(app: &App, promise: u8, version: u32, answer: ProbeAnswer) {
    let promise = PromiseId::new(promise).expect("a promise");
    let adapted = probe::Adapted {
        promise,
        probe: Arc::new(Answers(answer, version)),
        timeout: TIMEOUT,
        meter: spent::Meter::new(app.0.promises.register.get(promise).budget),
        lane: Arc::default(),
        walked: None,
    };
    let context = app.job(veritwin_access::jobs::PROMISES);
    let id = EvidenceId::generate(context.at, app.rng());
    let evidence = veritwin_governance::run(&adapted, id, app.clock()).await;
    let row = PromiseEvidence {
        id,
        promise: promise.to_string(),
        state: run::stored_state(evidence.outcome().kind()),
        at: evidence.finished_at(),
        summary: evidence.canonical_bytes(),
        ledger_index: None,
    };
    let tx = app.0.store.begin_platform(&context).await.expect("records");
    tx.evidence_add(&row).await.expect("evidence");
    tx.commit().await.expect("written");
}

/// What the board says of a promise after a start.
async fn loaded(app: &App, promise: u8) -> PromiseView {
    let promises = &app.0.promises;
    {
        let mut board = promises.board.lock();
        board.found.clear();
        board.unsealed.clear();
    }
    app.load_evidence().await.expect("evidence");
    promises.view(PromiseId::new(promise).expect("a promise"), app.clock().now())
}

fn failed() -> ProbeAnswer {
    ProbeAnswer::Failed {
        summary: "Broken.".to_owned(),
        facts: Vec::new(),
        place: "log of somebody, leaf 7".to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_older_checks_found_is_shown_to_nobody() {
    const SHOWN_SINCE: [(u8, u32); 7] =
        [(5, 4), (6, 4), (9, 2), (14, 2), (22, 3), (25, 3), (26, 3)];
    let root = tempfile::tempdir().expect("temporary folder");
    let app = platform(root.path()).await;
    for (promise, since) in SHOWN_SINCE {
        for (version, expect) in [(since - 1, "not_evidenced"), (since, "failing")] {
            stored(&app, promise, version, failed()).await;
            let view = loaded(&app, promise).await;
            assert_eq!((view.state, view.facts.is_empty()), (expect, version < since), "{view:?}");
        }
    }
    // What they found is sealed all the same.
    assert_eq!(app.0.promises.board.lock().unsealed.len(), 2 * SHOWN_SINCE.len());
    app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_check_could_not_do_is_not_read_back() {
    let root = tempfile::tempdir().expect("temporary folder");
    let app = platform(root.path()).await;
    let stumbled = || ProbeAnswer::CouldNotRun("cannot connect to secret-host:1234".to_owned());
    for promise in [23, 32, 51] {
        stored(&app, promise, 1, stumbled()).await;
        let view = loaded(&app, promise).await;
        assert_eq!((view.state, view.summary.as_ref()), ("not_evidenced", None), "{view:?}");
        stored(&app, promise, 1, passed()).await;
        stored(&app, promise, 1, stumbled()).await;
        let view = loaded(&app, promise).await;
        assert_eq!(view.state, "proven", "{view:?}");
        assert!(!format!("{view:?}").contains("secret-host"), "{view:?}");
    }
    assert_eq!(app.0.promises.board.lock().unsealed.len(), 9);
    app.close().await;
}

/// A run of the check of P32 at a second, with its leaf.
async fn run_at(second: u64, answer: ProbeAnswer, ledger_index: Option<u64>) -> Run {
    let clock = ManualClock::new(Timestamp::EPOCH);
    clock.advance(Duration::from_secs(second));
    let budget = veritwin_governance::Budget { cpu: TIMEOUT, io_bytes: 1 << 20 };
    let adapted = probe::Adapted {
        promise: PromiseId::new(32).expect("a promise"),
        probe: Arc::new(Answers(answer, 1)),
        timeout: TIMEOUT,
        meter: spent::Meter::new(budget),
        lane: Arc::default(),
        walked: None,
    };
    let id = EvidenceId::from_bytes([1; 16]);
    let evidence = veritwin_governance::run(&adapted, id, &clock).await;
    Run { evidence, ledger_index }
}

#[tokio::test]
async fn a_leaf_of_before_something_broke_shows_nothing_of_after_it() {
    let mut found = Found::default();
    // As runs are read back, newest first.
    found.take(run_at(4, passed(), None).await);
    assert_eq!(found.leaf, None);
    found.take(run_at(3, failed(), Some(9)).await);
    found.take(run_at(2, passed(), Some(8)).await);
    assert_eq!(found.leaf, None);
    // A newer one begins anew.
    found.take(run_at(5, passed(), Some(10)).await);
    assert_eq!(found.leaf, Some(10));
    found.take(run_at(6, failed(), None).await);
    assert_eq!(found.leaf, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_older_than_what_is_hidden_is_told_as_the_newest() {
    let root = tempfile::tempdir().expect("temporary folder");
    let app = platform(root.path()).await;
    // An older platform came in between, and could not run at first.
    stored(&app, 9, 2, passed()).await;
    stored(&app, 9, 1, ProbeAnswer::CouldNotRun("No.".to_owned())).await;
    assert_eq!(loaded(&app, 9).await.state, "proven");
    stored(&app, 9, 1, failed()).await;
    let view = loaded(&app, 9).await;
    assert_eq!((view.state, view.summary.as_ref()), ("not_evidenced", None), "{view:?}");
    stored(&app, 9, 2, passed()).await;
    assert_eq!(loaded(&app, 9).await.state, "proven");
    app.close().await;
}
