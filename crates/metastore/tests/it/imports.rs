//! Imports of readings: one of each file, moved on by one at a time, and nobody else's.

use std::time::Duration;

use veritwin_domain::ImportId;
use veritwin_metastore::{Error, Import, ImportRefusal, ImportState};

use crate::world::{START, everywhere, later};

fn refusal(row: u64) -> ImportRefusal {
    ImportRefusal { row, column: 2, detail: "expected a number".to_owned() }
}

#[tokio::test]
async fn imports_are_moved_on_by_one_at_a_time() {
    everywhere(async |world| {
        let import = Import {
            id: ImportId::generate(START, world.rng.as_ref()),
            state: ImportState::Open,
            body: b"readings.csv".to_vec(),
            piece: 0,
            rows_taken: 0,
            rows_before: 0,
            rows: 0,
            readings: 0,
            refused: 0,
            version: 1,
            created_at: START,
            updated_at: START,
            ended_at: None,
        };
        let tx = world.begin().await;
        tx.import_create(&import, "file").await.expect("written");
        tx.commit().await.expect("commit");
        let tx = world.begin().await;
        let again =
            Import { id: ImportId::generate(later(1), world.rng.as_ref()), ..import.clone() };
        let again = tx.import_create(&again, "file").await;
        assert!(matches!(again, Err(Error::Conflict { .. })), "{again:?}");
        drop(tx);

        let moved = Import { piece: 1, rows: 9, readings: 7, refused: 2, ..import.clone() };
        let tx = world.begin().await;
        tx.import_update(&moved).await.expect("moved");
        for row in [9, 3, 9] {
            tx.import_refusal_add(import.id, &refusal(row)).await.expect("noted");
        }
        tx.commit().await.expect("commit");
        let tx = world.begin().await;
        assert!(tx.import_update(&moved).await.is_err(), "it has moved since");
        drop(tx);
        let tx = world.read().await;
        let found = tx.import_of("file").await.expect("read").expect("there");
        assert_eq!((found.piece, found.rows, found.version), (1, 9, 2));
        assert_eq!(
            tx.import_refusals(import.id, 0, 10).await.expect("read"),
            [refusal(3), refusal(9)]
        );
        assert_eq!(tx.import_refusals(import.id, 3, 10).await.expect("read"), [refusal(9)]);
        drop(tx);

        let tx = world.begin_in(world.other).await;
        assert!(tx.imports().await.expect("none").is_empty());
        assert!(tx.import_of("file").await.expect("none").is_none());
        assert!(tx.import_refusals(import.id, 0, 10).await.expect("none").is_empty());
        assert!(matches!(tx.import(import.id).await, Err(Error::NotFound { .. })));
        drop(tx);

        let tx = world.platform().await;
        let long_after = START.saturating_add(Duration::from_secs(400 * 86_400));
        assert_eq!(tx.imports_purge(long_after).await.expect("purged"), 1);
        tx.commit().await.expect("commit");
        let tx = world.read().await;
        assert!(tx.import_refusals(import.id, 0, 10).await.expect("none").is_empty());
    })
    .await;
}
