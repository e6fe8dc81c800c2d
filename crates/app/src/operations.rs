//! What the platform's own administration sees of backups and of stored data.

use async_recursion::async_recursion as boxed;
use veritwin_access::{Action, Kind};
use veritwin_domain::OpContext;

use crate::provision::PLATFORM_TENANT;
use crate::{App, BackupStatus, Error, Result, ScrubStatus};

impl App {
    /// What there is to go back to, and whether what is stored reads back.
    #[boxed]
    pub async fn operations(&self, context: &OpContext) -> Result<(BackupStatus, ScrubStatus)> {
        let resource = self.authorize_all(context, Action::SystemRead, Kind::System)?;
        if context.tenant != PLATFORM_TENANT {
            let detail = "only the platform's own administration sees its operations";
            return Err(Error::Forbidden(detail.to_owned()));
        }
        let backup = self.own_backup_status().await?;
        let scrub = self.own_scrub_status().await?;
        self.note(context, Action::SystemRead, &resource, "done");
        Ok((backup, scrub))
    }
}
