//! To whom checkpoints are mailed: people of the tenant with the role, or those of a registered
//! destination of mail, whose address is confirmed. Who is there only to audit is outside: what
//! they are mailed leaves the organisation, and the gate for flows is asked.

use serde::{Deserialize, Serialize};
use veritwin_domain::{Role, RouteDestinationId, TenantId, UserId};
use veritwin_metastore::TenantTx;

use crate::error::found;
use crate::mail::masked;
use crate::rights::missing;
use crate::route_mail::confirmed;
use crate::route_places::{StoredDestination, StoredKind};
use crate::{App, Error, Result};

/// To whom a mailing goes.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum To {
    User(UserId),
    Destination(RouteDestinationId),
}

/// Somebody who is mailed.
pub(crate) struct Recipient {
    pub(crate) email: String,
    pub(crate) is_outside: bool,
}

/// Whether somebody has a part in the organisation besides auditing it.
fn is_outside(roles: &[Role]) -> bool {
    roles.iter().all(|role| *role == Role::Auditor)
}

/// To whom it goes now: addresses that are confirmed, of people who may still sign in here.
pub(crate) async fn recipients(tx: &TenantTx, to: To) -> Result<Vec<Recipient>> {
    let people = match to {
        To::User(user) => {
            let Some(member) = found(tx.member(user).await)? else { return Ok(Vec::new()) };
            if !member.roles.contains(&Role::Auditor) {
                return Ok(Vec::new());
            }
            vec![user]
        }
        To::Destination(id) => {
            let place = found(tx.route_destination(id).await)?.filter(|place| place.enabled);
            let Some(place) = place else { return Ok(Vec::new()) };
            match StoredDestination::read(&place)?.kind {
                StoredKind::Mail { people } => people,
                _ => return Ok(Vec::new()),
            }
        }
    };
    let mut all = Vec::new();
    for (user, email) in confirmed(tx, &people).await? {
        let Some(member) = found(tx.member(user).await)? else { continue };
        all.push(Recipient { email, is_outside: is_outside(&member.roles) });
    }
    Ok(all)
}

/// Refuses a recipient whom nothing could be mailed to.
pub(crate) async fn check_recipient(tx: &TenantTx, to: To) -> Result<()> {
    match to {
        To::User(user) => {
            let member = tx.member(user).await.map_err(missing("user_id"))?;
            if !member.roles.contains(&Role::Auditor) {
                let detail = "only people with the role auditor are mailed checkpoints";
                return Err(Error::invalid_at("user_id", detail));
            }
            if recipients(tx, to).await?.is_empty() {
                let detail = "this person's address is not confirmed";
                return Err(Error::invalid_at("user_id", detail));
            }
        }
        To::Destination(id) => {
            let place = tx.route_destination(id).await.map_err(missing("destination_id"))?;
            if !matches!(StoredDestination::read(&place)?.kind, StoredKind::Mail { .. }) {
                let detail = "expected a destination of mail";
                return Err(Error::invalid_at("destination_id", detail));
            }
        }
    }
    Ok(())
}

impl App {
    /// Those whom the register of flows lets the tenant mail to. It is asked again when a mail
    /// leaves.
    pub(crate) fn let_out(&self, tenant: TenantId, whom: Vec<Recipient>) -> Vec<Recipient> {
        let mut all = whom;
        all.retain(|one| {
            let refused = one.is_outside && self.check_flow_by_mail(tenant, &one.email).is_err();
            if refused {
                let to = masked(&one.email);
                tracing::warn!(%tenant, %to, "no mail of a checkpoint: its flow is not entered");
            }
            !refused
        });
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_only_audits_is_outside() {
        let check =
            |roles: &[Role], expect: bool| assert_eq!(is_outside(roles), expect, "{roles:?}");
        check(&[Role::Auditor], true);
        check(&[Role::Auditor, Role::Owner], false);
        check(&[Role::Viewer], false);
    }
}
