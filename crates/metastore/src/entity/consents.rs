//! What people said about purposes: consents and withdrawals, each with its signed record; and the
//! optional fields of accounts, each under its person's own key.

use async_recursion::async_recursion as boxed;
use veritwin_domain::{ConsentId, Timestamp, UserId};

use crate::bind::{Row, code, opaque_debug, stored_enum};
use crate::seal::Cell;
use crate::{PlatformTx, Result};

const CONSENTS: &str = "consents";
const FIELDS: &str = "account_fields";

stored_enum! {
    /// What a person said.
    ConsentDecision {
        /// They agreed.
        Given = "given",
        /// They took it back.
        Withdrawn = "withdrawn",
    }
}

stored_enum! {
    /// By which way they said it.
    ConsentChannel {
        /// At sign-up or in the settings.
        Settings = "settings",
        /// They deleted the field.
        FieldDeleted = "field_deleted",
        /// The contract ended.
        AccountEnded = "account_ended",
        /// By the link in a mail.
        MailLink = "mail_link",
        /// By mail or by word, recorded by an officer.
        Officer = "officer",
        /// By a program of their organisation.
        Api = "api",
    }
}

/// One decision.
#[derive(Clone, PartialEq, Eq)]
pub struct Consent {
    /// Its id.
    pub id: ConsentId,
    /// Whose it is.
    pub user: UserId,
    /// The purpose's name.
    pub purpose: String,
    /// The version of the text.
    pub purpose_version: u64,
    /// What was said.
    pub decision: ConsentDecision,
    /// By which way.
    pub channel: ConsentChannel,
    /// When.
    pub at: Timestamp,
    /// Who recorded it for the person.
    pub by: Option<[u8; 16]>,
    /// SHA-256 of the text.
    pub text_digest: [u8; 32],
    /// The signed record.
    pub record: Vec<u8>,
    /// SHA-256 of the record.
    pub record_digest: [u8; 32],
}

opaque_debug!(Consent { id, user, decision, channel, at });

impl PlatformTx {
    fn consent_of(&self, row: &Row) -> Result<Consent> {
        let id: ConsentId = row.get("id")?;
        Ok(Consent {
            id,
            user: row.get("user_id")?,
            purpose: row.get("purpose")?,
            purpose_version: row.get("purpose_version")?,
            decision: row.get("decision")?,
            channel: row.get("channel")?,
            at: row.get("at")?,
            by: row.maybe("by_id")?,
            text_digest: row.get("text_digest")?,
            record: self.vault().open(row, "record", id.as_bytes())?,
            record_digest: row.get("record_digest")?,
        })
    }

    /// Keeps a decision.
    #[boxed]
    pub async fn consent_add(&self, consent: &Consent) -> Result<()> {
        let cell = Cell { table: CONSENTS, column: "record", row: consent.id.as_bytes() };
        let insert = self
            .insert(CONSENTS)
            .set("id", consent.id)
            .set("user_id", consent.user)
            .set("purpose", code("purpose", &consent.purpose)?)
            .set("purpose_version", consent.purpose_version)
            .set("decision", consent.decision)
            .set("channel", consent.channel)
            .set("at", consent.at)
            .set("by_id", consent.by)
            .set("text_digest", consent.text_digest)
            .set("record", self.vault().seal(cell, &consent.record)?)
            .set("record_digest", consent.record_digest);
        self.core.insert(insert).await.map(|_| ())
    }

    /// The decisions of a person, newest first, at most `rows`.
    #[boxed]
    pub async fn consents_of(&self, user: UserId, rows: u64) -> Result<Vec<Consent>> {
        let select = self.select(CONSENTS).eq("user_id", user);
        let select = select.descending("at").descending("id").limit(rows);
        self.core.all(select).await?.iter().map(|row| self.consent_of(row)).collect()
    }

    /// The newest decision of a person about a purpose.
    #[boxed]
    pub async fn consent_newest(&self, user: UserId, purpose: &str) -> Result<Option<Consent>> {
        let select = self.select(CONSENTS).eq("user_id", user).eq("purpose", purpose.to_owned());
        let select = select.descending("at").descending("id").limit(1);
        let row = self.core.maybe(select).await?;
        row.map(|row| self.consent_of(&row)).transpose()
    }

    /// One decision.
    #[boxed]
    pub async fn consent(&self, id: ConsentId) -> Result<Consent> {
        let row = self.core.one(self.select(CONSENTS).eq("id", id)).await?;
        self.consent_of(&row)
    }

    /// How many decisions a person made since a moment.
    #[boxed]
    pub async fn consents_since(&self, user: UserId, from: Timestamp) -> Result<usize> {
        let select = self.select(CONSENTS).eq("user_id", user);
        let select = select.filter(crate::query::above("at", from));
        Ok(self.core.all(select.limit(u64::from(crate::PAGE_ROWS_MAX))).await?.len())
    }

    /// Forgets every decision of somebody who never was: of an account that a check made.
    #[boxed]
    pub async fn consents_forget(&self, user: UserId) -> Result<()> {
        self.core.delete(self.delete(CONSENTS).eq("user_id", user)).await.map(|_| ())
    }

    /// Writes an optional field of an account.
    #[boxed]
    pub async fn account_field_put(&self, user: UserId, field: &str, value: &str) -> Result<()> {
        let field = code("field", field)?;
        let key = cell_key(user, &field);
        let cell = Cell { table: FIELDS, column: "value", row: &key };
        let insert = self
            .insert(FIELDS)
            .set("user_id", user)
            .set("value", self.vault_of_subject(user).seal(cell, value.as_bytes())?)
            .set("field", field)
            .set("version", 1u64)
            .set("created_at", self.core.at)
            .set("updated_at", self.core.at)
            .or_overwrite(&["user_id", "field"], &["value", "updated_at"]);
        self.core.insert(insert).await.map(|_| ())
    }

    /// An optional field of an account.
    #[boxed]
    pub async fn account_field(&self, user: UserId, field: &str) -> Result<Option<String>> {
        let field = code("field", field)?;
        let key = cell_key(user, &field);
        let select = self.select(FIELDS).eq("user_id", user).eq("field", field);
        let row = self.core.maybe(select).await?;
        row.map(|row| self.vault_of_subject(user).open_text(&row, "value", &key)).transpose()
    }

    /// Deletes an optional field of an account; whether it was there.
    #[boxed]
    pub async fn account_field_delete(&self, user: UserId, field: &str) -> Result<bool> {
        let field = code("field", field)?;
        let delete = self.delete(FIELDS).eq("user_id", user).eq("field", field);
        Ok(self.core.delete(delete).await? > 0)
    }
}

/// A person's field cannot be taken for another's, nor for another field of theirs.
fn cell_key(user: UserId, field: &str) -> Vec<u8> {
    [user.as_bytes().as_slice(), field.as_bytes()].concat()
}
