//! Sign-in sessions, found by the digest of their token.

use async_recursion::async_recursion as boxed;
use veritwin_domain::{SessionId, TenantId, Timestamp, UserId};

use crate::bind::{Row, stored_enum};
use crate::query::at_most;
use crate::{Error, PlatformTx, Result, TenantTx};

const TABLE: &str = "sessions";

stored_enum! {
    /// How a person proved who they are.
    SessionMethod {
        /// By what their account holds.
        Account = "account",
        /// Their tenant's own provider vouched for them.
        Provider = "provider",
    }
}

/// A sign-in session. How long it lives is `access`'s to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The tenant it works in.
    pub tenant: TenantId,
    /// Whose it is.
    pub user: UserId,
    /// When the person signed in.
    pub created_at: Timestamp,
    /// Its absolute end.
    pub expires_at: Timestamp,
    /// When it was last used, as far as written.
    pub last_seen_at: Timestamp,
    /// When the person last proved who they are.
    pub proved_at: Timestamp,
    /// Since when it is asked to prove itself again, if it is.
    pub doubted_at: Option<Timestamp>,
    /// Whether a second factor was shown.
    pub second_factor: bool,
    /// How the person proved it.
    pub method: SessionMethod,
    /// The kind of browser, out of a closed list.
    pub browser: Option<String>,
    /// The system, out of a closed list, with its major version.
    pub system: Option<String>,
}

impl Session {
    /// Whether something looked unlike the person since they last proved who they are.
    pub fn is_doubted(&self) -> bool {
        self.doubted_at.is_some_and(|at| at >= self.proved_at)
    }
}

fn load(row: &Row) -> Result<Session> {
    Ok(Session {
        id: row.get("id")?,
        tenant: row.get("tenant_id")?,
        user: row.get("user_id")?,
        created_at: row.get("created_at")?,
        expires_at: row.get("expires_at")?,
        last_seen_at: row.get("last_seen_at")?,
        // Sessions of before have none: they prove themselves anew when it matters.
        proved_at: row.maybe("proved_at")?.unwrap_or(row.get("created_at")?),
        doubted_at: row.maybe("step_up_asked_at")?,
        second_factor: row.maybe("second_factor")?.unwrap_or(false),
        method: row.maybe("method")?.unwrap_or(SessionMethod::Account),
        browser: row.maybe("browser")?,
        system: row.maybe("system")?,
    })
}

impl PlatformTx {
    /// Writes a new session under its token's digest.
    #[boxed]
    pub async fn session_create(&self, session: &Session, token_digest: [u8; 32]) -> Result<()> {
        let insert = self
            .insert(TABLE)
            .set("id", session.id)
            .set("tenant_id", session.tenant)
            .set("user_id", session.user)
            .set("token_digest", token_digest)
            .set("created_at", session.created_at)
            .set("expires_at", session.expires_at)
            .set("last_seen_at", session.last_seen_at)
            .set("proved_at", session.proved_at)
            .set("step_up_asked_at", session.doubted_at)
            .set("second_factor", session.second_factor)
            .set("method", session.method)
            .set("browser", session.browser.clone())
            .set("system", session.system.clone());
        self.core.insert(insert).await.map(|_| ())
    }

    /// The session of a token, if there is one, whatever its age.
    #[boxed]
    pub async fn session_by_digest(&self, token_digest: [u8; 32]) -> Result<Option<Session>> {
        let select = self.select(TABLE).eq("token_digest", token_digest);
        self.core.maybe(select).await?.map(|row| load(&row)).transpose()
    }

    /// The sessions of an account, oldest first.
    #[boxed]
    pub async fn sessions_of(&self, user: UserId) -> Result<Vec<Session>> {
        let select = self.select(TABLE).eq("user_id", user).ascending("created_at");
        self.core.all(select).await?.iter().map(load).collect()
    }

    /// Notes that a session was used.
    #[boxed]
    pub async fn session_touch(&self, id: SessionId, at: Timestamp) -> Result<()> {
        let update = self.update(TABLE).set("last_seen_at", at).eq("id", id);
        if self.core.update(update).await? == 0 {
            return Err(Error::NotFound { what: TABLE });
        }
        Ok(())
    }

    /// Asks a session to prove itself again, such as after something that looks unlike its owner.
    #[boxed]
    pub async fn session_ask_step_up(&self, id: SessionId, at: Timestamp) -> Result<()> {
        let update = self.update(TABLE).set("step_up_asked_at", Some(at)).eq("id", id);
        self.core.update(update).await.map(|_| ())
    }

    /// The session, if it has not ended.
    #[boxed]
    pub async fn session(&self, id: SessionId) -> Result<Option<Session>> {
        self.core.maybe(self.select(TABLE).eq("id", id)).await?.map(|row| load(&row)).transpose()
    }

    /// Gives a session a new token; the old one works no more.
    #[boxed]
    pub async fn session_renew(&self, id: SessionId, token_digest: [u8; 32]) -> Result<()> {
        let update = self.update(TABLE).set("token_digest", token_digest).eq("id", id);
        if self.core.update(update).await? == 0 {
            return Err(Error::NotFound { what: TABLE });
        }
        Ok(())
    }

    /// Notes that the person proved again who they are; the session goes on under a new token.
    #[boxed]
    pub async fn session_prove(&self, session: &Session, token_digest: [u8; 32]) -> Result<()> {
        let update = self
            .update(TABLE)
            .set("token_digest", token_digest)
            .set("proved_at", session.proved_at)
            .set("step_up_asked_at", Option::<Timestamp>::None)
            .set("second_factor", session.second_factor)
            .set("method", session.method)
            .eq("id", session.id);
        if self.core.update(update).await? == 0 {
            return Err(Error::NotFound { what: TABLE });
        }
        Ok(())
    }

    /// Ends one session of an account.
    #[boxed]
    pub async fn session_delete_of(&self, user: UserId, id: SessionId) -> Result<()> {
        let delete = self.delete(TABLE).eq("user_id", user).eq("id", id);
        if self.core.delete(delete).await? == 0 {
            return Err(Error::NotFound { what: TABLE });
        }
        Ok(())
    }

    /// Ends a session; nothing happens if it has ended.
    #[boxed]
    pub async fn session_delete(&self, id: SessionId) -> Result<()> {
        self.core.delete(self.delete(TABLE).eq("id", id)).await.map(|_| ())
    }

    /// Ends every session of an account.
    #[boxed]
    pub async fn sessions_delete_of(&self, user: UserId) -> Result<u64> {
        self.core.delete(self.delete(TABLE).eq("user_id", user)).await
    }

    /// Deletes sessions past their end, and those not used since `idle_since`.
    #[boxed]
    pub async fn sessions_purge(&self, now: Timestamp, idle_since: Timestamp) -> Result<u64> {
        let ended = self.delete(TABLE).filter(at_most("expires_at", now));
        let idle = self.delete(TABLE).filter(at_most("last_seen_at", idle_since));
        Ok(self.core.delete(ended).await? + self.core.delete(idle).await?)
    }
}

impl TenantTx {
    /// Ends every session that the tenant's provider vouched for.
    #[boxed]
    pub async fn sessions_end_by_provider(&self) -> Result<()> {
        let delete = self.delete(TABLE).eq("method", SessionMethod::Provider);
        self.core.delete(delete).await.map(|_| ())
    }
}
