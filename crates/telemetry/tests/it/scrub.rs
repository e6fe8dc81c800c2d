//! Reading everything that is stored: whole data has no finding, each flipped byte of a pack or of
//! the manifest has one with its place, and what a withdrawn key closes is not judged.

use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use veritwin_domain::Value;
use veritwin_telemetry::{Engine, Scrubbed};

use crate::support::{History, Setup, TODAY, batch, objects, reading, runtime, tenant};

/// Bytes between two that are flipped.
const STEP: usize = 37;

async fn walk(engine: &Engine, after: Option<&str>) -> Vec<Scrubbed> {
    let mut scrub = engine.scrub(after);
    let mut steps = Vec::new();
    while let Some(step) = scrub.step().await {
        steps.push(step);
    }
    assert_eq!(scrub.left_bytes(), 0);
    steps
}

async fn filled(setup: &Setup) -> Engine {
    let engine = setup.open().await;
    let mut history = History::default();
    for number in 0..2u8 {
        let readings = (0..300i64)
            .flat_map(|second| {
                let at = TODAY + second * 1_000_000;
                let text = format!("reading {second}");
                let number = Value::Integer(second * second);
                [reading("n", at, number), reading("t", at, Value::Text(text.into()))]
            })
            .collect();
        history.commit(&engine, batch(number, 1, readings));
    }
    engine.flush().await.expect("flushes");
    engine
}

#[test]
fn each_flipped_byte_is_found_with_its_place() {
    runtime().block_on(async {
        let setup = Setup::new();
        let engine = filled(&setup).await;
        let steps = walk(&engine, None).await;
        assert!(steps.iter().all(|step| step.damage.is_empty() && !step.is_closed), "{steps:?}");
        assert!(steps.len() >= 5, "a manifest, two sections, two latest values: {steps:?}");
        let middle = steps[2].place.clone();
        assert_eq!(walk(&engine, Some(&middle)).await.len(), steps.len() - 3, "it goes on");
        for name in objects(&setup.store).await {
            let path = Path::from(name.as_str());
            let read = setup.store.get(&path).await.expect("reads");
            let whole = read.bytes().await.expect("reads").to_vec();
            for at in (0..whole.len()).step_by(STEP) {
                let mut bytes = whole.clone();
                bytes[at] ^= 0x10;
                setup.store.put(&path, PutPayload::from(bytes)).await.expect("writes");
                let steps = walk(&engine, None).await;
                let found: Vec<_> = steps.into_iter().flat_map(|step| step.damage).collect();
                assert!(!found.is_empty(), "byte {at} of {name}");
                assert!(found.iter().all(|one| one.object == name), "byte {at}: {found:?}");
                assert!(found.iter().all(|one| one.offset <= at as u64), "byte {at}: {found:?}");
                if name.starts_with("segments") {
                    assert!(found.iter().all(|one| one.tenant.is_some()), "{found:?}");
                }
            }
            setup.store.put(&path, PutPayload::from(whole)).await.expect("writes");
        }
        let steps = walk(&engine, None).await;
        assert!(steps.iter().all(|step| step.damage.is_empty()), "{steps:?}");
    });
}

#[test]
fn what_is_closed_is_not_judged_and_what_is_gone_is_found() {
    runtime().block_on(async {
        let setup = Setup::new();
        let engine = filled(&setup).await;
        setup.keys.revoke(tenant(0)).expect("revokes");
        let steps = walk(&engine, None).await;
        let closed = steps.iter().filter(|step| step.is_closed).count();
        assert_eq!(closed, 2, "a section and latest values: {steps:?}");
        assert!(steps.iter().all(|step| step.damage.is_empty()), "{steps:?}");
        assert!(engine.stranger_packs(9).await.expect("lists").is_empty());
        let names = objects(&setup.store).await;
        let pack = names.iter().find(|name| name.starts_with("segments/")).expect("a pack");
        setup.store.delete(&Path::from(pack.as_str())).await.expect("deletes");
        let steps = walk(&engine, None).await;
        assert!(steps.iter().any(|step| !step.damage.is_empty()), "{steps:?}");
    });
}
