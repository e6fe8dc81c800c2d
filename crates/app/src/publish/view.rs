//! What people see of witnesses and time stamps: how far the ledger is witnessed, never that it is
//! when it is not.

use veritwin_domain::OpContext;
use veritwin_verify::{SignedCheckpoint, VerifierKey};

use crate::model::{StampView, WitnessSeen, WitnessView};
use crate::{App, Result};

impl App {
    /// How far a tenant's log of `size` leaves is witnessed, and its newest time stamp.
    pub(crate) async fn witnessed(
        &self,
        context: &OpContext,
        size: u64,
    ) -> Result<(WitnessView, Option<StampView>)> {
        let tx = self.0.store.read(context).await?;
        let newest = tx.ledger_published_newest(false, 1).await?.pop();
        let met = tx.ledger_published_met().await?;
        let stamped = tx.ledger_published_newest(true, 1).await?.pop();
        drop(tx);
        let publisher = &self.0.publisher;
        let note = newest.as_ref().map(|one| SignedCheckpoint::parse(&one.note));
        let signed = note.and_then(std::result::Result::ok);
        let has_signed = |key: &VerifierKey| {
            signed.as_ref().is_some_and(|signed| key.verify(&signed.note).is_ok())
        };
        let known = publisher.policy.iter().flat_map(veritwin_verify::Policy::witnesses);
        let witnesses = known.map(|witness| WitnessSeen {
            name: witness.key.name().to_owned(),
            cosigned: has_signed(&witness.key),
        });
        // By the policy of today.
        let met = met.filter(|one| {
            let signed = SignedCheckpoint::parse(&one.note);
            let policy = publisher.policy.as_ref();
            signed.is_ok_and(|signed| policy.is_some_and(|policy| policy.evaluate(&signed).met))
        });
        let witnessed_size = met.map_or(0, |one| one.size);
        let in_roll = newest.as_ref().filter(|one| one.roll.is_some());
        let view = WitnessView {
            witnesses: witnesses.collect(),
            policy: publisher.policy.as_ref().map(|policy| policy.text().to_owned()),
            contradicted: publisher.alarm_of(context.tenant),
            witnessed_size,
            unwitnessed: size.saturating_sub(witnessed_size),
            in_log_of_logs: in_roll.map_or(0, |one| one.size),
            published_at: newest.as_ref().map(|one| one.published_at),
        };
        let stamp = stamped.and_then(|one| Some(StampView { size: one.size, at: one.stamped_at? }));
        Ok((view, stamp))
    }
}
