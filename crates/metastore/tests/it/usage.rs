//! Days of usage: added to by the platform, seen by their tenant alone, gone with it.

use veritwin_metastore::{UsageCounts, UsageLevels};

use crate::world::everywhere;

fn counts(points: u64) -> UsageCounts {
    UsageCounts { points, messages: 1, bytes_in: points * 16, ..UsageCounts::default() }
}

#[tokio::test]
async fn days_add_up_and_are_the_tenants_own() {
    everywhere(async |world| {
        let tx = world.platform().await;
        tx.usage_add(world.tenant, 100, &counts(3)).await.expect("added");
        tx.usage_add(world.tenant, 100, &counts(4)).await.expect("added");
        tx.usage_add(world.tenant, 101, &counts(5)).await.expect("added");
        tx.usage_add(world.other, 100, &counts(9)).await.expect("added");
        tx.commit().await.expect("commit");
        let levels = UsageLevels { stored_bytes: 70, devices: 2, series: 6 };
        let tx = world.begin().await;
        tx.usage_levels_put(101, &levels).await.expect("noted");
        tx.usage_levels_put(102, &levels).await.expect("noted");
        tx.commit().await.expect("commit");

        let tx = world.read().await;
        let days = tx.usage_days(100, 102).await.expect("read");
        let seen: Vec<_> = days.iter().map(|day| (day.day, day.counts, day.levels)).collect();
        let both = UsageCounts { points: 7, messages: 2, bytes_in: 112, ..UsageCounts::default() };
        let none = UsageCounts::default();
        let expected =
            [(100, both, None), (101, counts(5), Some(levels)), (102, none, Some(levels))];
        assert_eq!(seen, expected, "{}", world.label);
        assert_eq!(tx.usage_days(101, 101).await.expect("read").len(), 1);
        drop(tx);
        let other = world.begin_in(world.other).await;
        let days = other.usage_days(0, 1000).await.expect("read");
        assert_eq!(days.iter().map(|day| day.counts.points).collect::<Vec<_>>(), [9]);
        drop(other);

        let tx = world.platform().await;
        let points = tx.usage_points(100).await.expect("read");
        assert!(points.contains(&(world.tenant, 7)) && points.contains(&(world.other, 9)));
        assert_eq!(tx.usage_purge(101).await.expect("purged"), 2);
        tx.tenant_delete(world.tenant).await.expect("deleted");
        tx.commit().await.expect("commit");
        let points = world.platform().await.usage_points(101).await.expect("read");
        assert!(points.is_empty(), "gone with the tenant");
    })
    .await;
}
