//! What ends when an account is made safe again: by a new password, a reset, the end of the other
//! sessions, a renewal or a removal. Whoever was in it before keeps nothing that works later.

use veritwin_domain::{TenantId, UserId};
use veritwin_metastore::{PlatformTx, Session};

use crate::Result;

/// Ends the open links of an account and its sessions, except those to be kept. Gives the tenants
/// whose sessions ended, for `App::sessions_ended`.
pub(crate) async fn end_what_is_open(
    tx: &PlatformTx,
    user: UserId,
    is_kept: impl Fn(&Session) -> bool + Send + Sync,
) -> Result<Vec<TenantId>> {
    tx.links_delete_of(user).await?;
    let mut ended = Vec::new();
    for session in tx.sessions_of(user).await? {
        if !is_kept(&session) {
            tx.session_delete(session.id).await?;
            ended.push(session.tenant);
        }
    }
    Ok(ended)
}
