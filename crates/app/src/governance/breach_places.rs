//! Who had the data of a breach, and where: taken out of the registers, so that a notice names
//! nobody whom the organisation never entered.

use std::collections::BTreeSet;

use veritwin_domain::{OpContext, Timestamp};
use veritwin_metastore::{RegisterEntry, RegisterKind, RegisterState, TenantTx};

use crate::model::{BreachContent, BreachPlaces};
use crate::provision::PLATFORM_TENANT;
use crate::registers::Fields;
use crate::{App, Error, Result};

/// Most recipients, and most regions, that a breach names.
const NAMED_MAX: usize = 100;

/// Whether an entry counts, or did until it was ended: data of before may be there still.
fn was_in_force(entry: &RegisterEntry, now: Timestamp) -> bool {
    entry.state != RegisterState::Asked && entry.created_at <= now
}

impl App {
    /// The recipients and regions that the registers know: the organisation's own, and the
    /// platform's.
    pub(super) async fn breach_places(
        &self,
        tx: &TenantTx,
        context: &OpContext,
    ) -> Result<BreachPlaces> {
        let (mut recipients, mut regions) = (BTreeSet::new(), BTreeSet::new());
        let kinds = [RegisterKind::Residency, RegisterKind::Flow, RegisterKind::Subprocessor];
        for kind in kinds {
            for entry in tx.register_entries(kind).await? {
                let fields = Fields::read(&entry.body)?;
                if !was_in_force(&entry, context.at) {
                    continue;
                }
                let named = ["name", "recipient"].into_iter().filter_map(|name| fields.get(name));
                recipients.extend(named.map(str::to_owned));
                regions.extend(fields.get("jurisdiction").map(str::to_owned));
            }
        }
        if let Some(in_force) = self.0.legal.in_force(context.at) {
            for one in in_force.body.sub_processors {
                recipients.insert(one.name);
                regions.insert(one.country);
            }
        }
        let platform = self.0.routes.flows.of(PLATFORM_TENANT);
        regions.extend(platform.and_then(|flows| flows.home().map(str::to_owned)));
        Ok(BreachPlaces {
            recipients: recipients.into_iter().collect(),
            regions: regions.into_iter().collect(),
        })
    }

    /// Refuses what no register names; what a breach named before stays good.
    pub(super) async fn check_breach_places(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        (content, before): (&BreachContent, Option<&BreachContent>),
    ) -> Result<()> {
        let known = self.breach_places(tx, context).await?;
        let earlier = |of: fn(&BreachContent) -> &Vec<String>| before.map(of);
        let named = [
            ("recipients", &content.recipients, &known.recipients, earlier(|one| &one.recipients)),
            ("regions", &content.regions, &known.regions, earlier(|one| &one.regions)),
        ];
        for (field, named, known, earlier) in named {
            if named.len() > NAMED_MAX {
                return Err(Error::invalid_at(field, format!("at most {NAMED_MAX}")));
            }
            let is_known = |name: &String| {
                known.contains(name) || earlier.is_some_and(|earlier| earlier.contains(name))
            };
            if !named.iter().all(is_known) {
                return Err(Error::invalid_at(field, "must be entered in a register first"));
            }
        }
        Ok(())
    }
}
