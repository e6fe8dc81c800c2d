//! What devices say of themselves: what passes a bound is known before the log has it, the rest of
//! a submission is stored, and two connections of one device do not get around it.

use std::collections::BTreeMap;

use futures::future::join_all;
use veritwin_domain::{CredentialId, DeviceBatch, Key, Quality, Reading, Value};

use super::{Customer, World};
use crate::{RefusedPart, Submission};

const MAX: usize = 1_024;

fn said(customer: &Customer, entries: &[(String, Value)], refusal_recorded: bool) -> Submission {
    let entry = |(key, value): &(String, Value)| (Key::new(key).expect("a key"), value.clone());
    Submission::ClientAttributes {
        device: customer.device,
        credential: CredentialId::from_bytes([1; 16]),
        received_at: customer.context.at,
        entries: entries.iter().map(entry).collect(),
        payload_bytes: 15,
        refusal_recorded,
    }
}

fn one(key: &str, value: i64) -> [(String, Value); 1] {
    [(key.to_owned(), Value::Integer(value))]
}

fn reading(customer: &Customer, value: f64) -> Submission {
    Submission::Readings(DeviceBatch {
        tenant: customer.tenant(),
        device: customer.device,
        credential: CredentialId::from_bytes([1; 16]),
        received_at: customer.context.at,
        readings: vec![Reading {
            key: Key::new("t").expect("a key"),
            at: customer.context.at,
            value: Value::Double(value),
            quality: Quality::Good,
        }],
    })
}

impl World {
    /// The refused parts, by index and limit, and how many entries the log has more.
    async fn say(
        &self,
        customer: &Customer,
        parts: Vec<Submission>,
    ) -> (Vec<(usize, &'static str)>, u64) {
        let before = self.app.0.log.tail_position();
        let refused = self.app.submit(customer.tenant(), parts).await.expect("durable");
        let named = refused.iter().map(|RefusedPart { index, limit }| (*index, limit.name));
        (named.collect(), self.app.0.log.tail_position() - before)
    }

    async fn client(&self, customer: &Customer) -> BTreeMap<String, Value> {
        let credential = CredentialId::from_bytes([1; 16]);
        let view = self.app.device_attributes(customer.tenant(), customer.device, credential).await;
        view.expect("attributes").client
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_a_bound_is_not_in_the_log_and_the_rest_is_stored() {
    let world = World::new().await;
    let customer = world.customer("wide").await;
    let full: Vec<_> = (0..MAX).map(|number| (format!("k{number}"), Value::Integer(1))).collect();
    assert_eq!(world.say(&customer, vec![said(&customer, &full, false)]).await, (vec![], 1));
    let parts = |recorded| {
        vec![
            reading(&customer, 7.0),
            said(&customer, &one("more", 1), recorded),
            said(&customer, &one("k1", 2), recorded),
            said(&customer, &one("k1", 3), recorded),
            reading(&customer, 8.0),
        ]
    };
    let refused = vec![(1, "attributes_max")];
    assert_eq!(world.say(&customer, parts(false)).await, (refused.clone(), 4));
    let listed = || world.app.0.refusals.of((customer.tenant(), customer.device));
    assert_eq!(listed().len(), 0, "whoever is told needs no record");
    assert_eq!(world.say(&customer, parts(true)).await, (refused, 5));
    let listed = listed();
    let [refusal] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!((refusal.reason, refusal.limit), ("limit", Some("attributes_max")));
    assert!(refusal.detail.contains("at most 1024, got 1025"), "{refusal:?}");
    let client = world.client(&customer).await;
    assert!(client.len() == MAX && !client.contains_key("more"));
    assert_eq!(client["k1"], Value::Integer(3), "the later one wins");

    let large = world.customer("large").await;
    let text = |number: usize| (format!("k{number}"), Value::Text("y".repeat(60_000).into()));
    for number in 0..17 {
        let said = said(&large, &[text(number)], false);
        assert_eq!(world.say(&large, vec![said]).await, (vec![], 1), "{number}");
    }
    let over = vec![said(&large, &[text(17)], false), said(&large, &one("k0", 1), false)];
    assert_eq!(world.say(&large, over).await, (vec![(0, "attributes_bytes_max")], 1));
    let alone = vec![said(&large, &[text(18), text(19)], false)];
    assert_eq!(world.say(&large, alone).await, (vec![(0, "attributes_bytes_max")], 0));
    let client = world.client(&large).await;
    assert_eq!((client.len(), &client["k0"]), (17, &Value::Integer(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_connections_of_one_device_do_not_pass_a_bound_together() {
    let world = World::new().await;
    let customer = world.customer("twins").await;
    let nearly: Vec<_> =
        (0..MAX - 1).map(|number| (format!("k{number}"), Value::Integer(1))).collect();
    assert_eq!(world.say(&customer, vec![said(&customer, &nearly, false)]).await, (vec![], 1));
    let keys: Vec<String> = (0..8).map(|number| format!("more{number}")).collect();
    let tenant = customer.tenant();
    let all = join_all(keys.iter().map(|key| {
        let parts = vec![said(&customer, &one(key, 1), false), reading(&customer, 1.0)];
        world.app.submit(tenant, parts)
    }));
    let answers = all.await.into_iter().map(|answer| answer.expect("durable"));
    let taken = answers.filter(Vec::is_empty).count();
    assert_eq!(taken, 1);
    assert_eq!(world.client(&customer).await.len(), MAX);
}
