//! What is taken away of one person where it is not theirs: their address out of alert rules, the
//! invitations to it, and what devices hold that are said to be theirs. As in every store, each may
//! be done again, and on a backup that was restored.

use veritwin_domain::OpContext;
use veritwin_metastore::{Rule, TenantTx};

use super::whom::Whom;
use crate::error::found;
use crate::{App, Error, Result};

impl App {
    /// No rule mails the address any more; whatever else a rule says stays, and so do those whom
    /// it mails beside them.
    pub(super) async fn erase_from_rules(&self, context: &OpContext, whom: &Whom) -> Result<u64> {
        #[cfg(feature = "test-controls")]
        if self.0.promises.is_sabotaged(42) {
            return Ok(0);
        }
        if whom.address.is_none() {
            return Ok(0);
        }
        let is_theirs = |tx: &TenantTx, given: &str| whom.is_address(tx, given);
        let rules = self.rules_that(context, is_theirs).await?;
        if rules.is_empty() {
            return Ok(0);
        }
        let tx = self.0.store.begin(context).await?;
        let mut count = 0;
        for (row, mut rule) in rules {
            rule.notify_emails.retain(|given| !is_theirs(&tx, given));
            let body = rule.to_bytes().map_err(|error| Error::Internal(error.to_string()))?;
            let read = row.version;
            tx.rule_update(&Rule { body, ..row }, Some(read)).await?;
            count += 1;
        }
        tx.commit().await?;
        self.alert_sources_changed(context.tenant);
        Ok(count)
    }

    /// Invitations to the address, used or not, and their keys where no account has them.
    pub(super) async fn erase_invitations(&self, context: &OpContext, whom: &Whom) -> Result<u64> {
        if whom.address.is_none() {
            return Ok(0);
        }
        let is_theirs = |tx: &TenantTx, given: &str| whom.is_address(tx, given);
        let mut count = 0;
        for (id, link, _) in self.invitations_that(context, is_theirs).await? {
            let tx = self.0.store.begin(context).await?;
            count += u64::from(found(tx.link_delete(id).await)?.is_some());
            tx.commit().await?;
            let Some(user) = link.user else { continue };
            let tx = self.0.store.read_platform(&self.above(context)).await?;
            let is_account = found(tx.user(user).await)?.is_some();
            drop(tx);
            if !is_account {
                self.destroy_keys_of(user)?;
            }
        }
        Ok(count)
    }

    /// Attributes of the devices that are said to be theirs, calls to them, and what they retain.
    pub(super) async fn erase_of_devices(&self, context: &OpContext, whom: &Whom) -> Result<u64> {
        if whom.person.is_none() {
            return Ok(0);
        }
        let marker = &self.marker(context.tenant)?;
        let is_theirs = |named: &str| whom.is_person(marker, named);
        let devices = self.devices_of(context, is_theirs).await?;
        if devices.is_empty() {
            return Ok(0);
        }
        let mut count = 0;
        for device in &devices {
            count += self.forget_calls(context, *device).await?;
        }
        // As where a device is deleted: the tenant's turn first, then the records.
        let mut retained = self.retained_draft(context.tenant).await?;
        for device in &devices {
            retained.forget_device(*device);
        }
        count += retained.changed();
        let tx = self.0.store.begin(context).await?;
        for device in &devices {
            count += tx.attributes_delete(*device).await?;
        }
        let written = self.write_retained(&tx, retained).await?;
        tx.commit().await?;
        self.retained_stored(written);
        Ok(count)
    }
}
