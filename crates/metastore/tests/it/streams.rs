//! What is declared of streams: statements by device, rules, acts.

use veritwin_domain::{StreamActId, StreamRuleId};
use veritwin_metastore::{Error, Page, StreamAct, StreamActHead, StreamRule, StreamStatements};

use crate::world::{START, World, device, everywhere, later};

pub(crate) fn act(world: &World, seconds: u64) -> StreamAct {
    StreamAct {
        id: StreamActId::generate(later(seconds), world.rng.as_ref()),
        head: Some(br#"{"count":0}"#.to_vec()),
        body: br#"{"steps":[]}"#.to_vec(),
        created_at: later(seconds),
        undone_at: None,
    }
}

#[tokio::test]
async fn statements_are_written_over_and_go_with_their_device() {
    everywhere(async |world| {
        let tx = world.begin().await;
        let (pump, fan) = (device(world, "pump"), device(world, "fan"));
        for one in [&pump, &fan] {
            tx.device_create(one).await.expect("a device");
            assert_eq!(tx.stream_statements_of(one.id).await.expect("none"), None);
            for body in [b"{}".to_vec(), br#"{"person":"p"}"#.to_vec()] {
                let said = StreamStatements { device: one.id, body };
                tx.stream_statements_put(&said).await.expect("said");
                assert_eq!(tx.stream_statements_of(one.id).await.expect("found"), Some(said));
            }
        }
        let first = tx.stream_statements(&Page::first(1)).await.expect("a page");
        assert_eq!(first.items[0].device, pump.id.min(fan.id));
        assert!(first.next.is_some());
        tx.device_delete(pump.id).await.expect("deleted");
        let left = tx.stream_statements(&Page::whole()).await.expect("the rest").items;
        assert_eq!(left.iter().map(|one| one.device).collect::<Vec<_>>(), [fan.id]);
        tx.stream_statements_delete(fan.id).await.expect("taken back");
        assert!(tx.stream_statements(&Page::whole()).await.expect("none").items.is_empty());
    })
    .await;
}

#[tokio::test]
async fn acts_are_taken_back_once_and_the_oldest_go_first() {
    everywhere(async |world| {
        let tx = world.begin().await;
        let mut acts: Vec<StreamAct> = (0..4).map(|seconds| act(world, seconds)).collect();
        // One of before there were heads.
        acts[3].head = None;
        for one in &acts {
            tx.stream_act_create(one).await.expect("an act");
        }
        assert_eq!(tx.stream_act(acts[1].id).await.expect("found"), acts[1]);
        tx.stream_act_undone(acts[1].id, later(9)).await.expect("taken back");
        let again = tx.stream_act_undone(acts[1].id, later(9)).await;
        assert!(matches!(again, Err(Error::Conflict { .. })));
        tx.stream_acts_cut(1).await.expect("cut");
        tx.stream_act_delete(acts[2].id).await.expect("deleted");
        assert_eq!(tx.stream_acts_count().await.expect("a count"), 2);
        let listed = tx.stream_act_heads(&Page::whole()).await.expect("acts").items;
        let head = |act: &StreamAct, undone_at| {
            let StreamAct { id, head, created_at, .. } = act.clone();
            StreamActHead { id, head, created_at, undone_at }
        };
        assert_eq!(listed, [head(&acts[3], None), head(&acts[1], Some(later(9)))]);
        let first = tx.stream_act_heads(&Page::first(1)).await.expect("a page");
        assert_eq!((first.items.len(), first.next.is_some()), (1, true));

        let rule = StreamRule {
            id: StreamRuleId::generate(START, world.rng.as_ref()),
            body: br#"{"key":"temp*"}"#.to_vec(),
            created_at: START,
        };
        tx.stream_rule_create(&rule).await.expect("a rule");
        let listed = tx.stream_rules().await.expect("rules");
        assert_eq!(listed, std::slice::from_ref(&rule));
        tx.stream_rule_delete(rule.id).await.expect("deleted");
        let gone = tx.stream_rule_delete(rule.id).await;
        assert!(matches!(gone, Err(Error::NotFound { .. })));
    })
    .await;
}
