//! Details that a person gives of their own will (promise P19): under a fresh random identity that
//! nothing links to a device or to what was let out before.

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use serde_json::json;
use veritwin_access::{Action, Kind, Resource};
use veritwin_domain::{LimitExceeded, OpContext, RegisterEntryId, Timestamp};
use veritwin_keys::sha256;
use veritwin_metastore::{
    REGISTER_ENTRIES_MAX, RegisterEntry, RegisterKind, RegisterState, TenantTx,
};

use crate::change::Change;
use crate::model::{OptInDetails, OptInInput, OptInView};
use crate::{App, Error, Result};

const FIELD_CHARS_MAX: usize = 300;
const TEXT_CHARS_MAX: usize = 4000;
/// Random bytes of an identity.
const IDENTITY_BYTES: usize = 16;

/// What is stored of an opt-in.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct StoredOptIn {
    identity: String,
    /// The words that were agreed to.
    text: String,
    agreed_at_us: i64,
    name: Option<String>,
    email: Option<String>,
    phone: Option<String>,
    address: Option<String>,
}

fn view(entry: &RegisterEntry) -> Result<OptInView> {
    let stored: StoredOptIn = serde_json::from_slice(&entry.body)
        .map_err(|_| Error::Internal("a stored opt-in is damaged".to_owned()))?;
    let StoredOptIn { identity, text, agreed_at_us, name, email, phone, address } = stored;
    Ok(OptInView {
        id: entry.id,
        identity,
        text_sha256: hex::encode(sha256(text.as_bytes())),
        text,
        agreed_at: Timestamp::from_micros(agreed_at_us),
        details: OptInDetails { name, email, phone, address },
    })
}

impl App {
    fn check_opt_in(&self, input: &OptInInput) -> Result<()> {
        if !input.consent {
            let why = "details are taken only with explicit consent";
            return Err(Error::invalid_at("consent", why));
        }
        crate::holds::words("text", &input.text, TEXT_CHARS_MAX)?;
        let details = &input.details;
        let fields = [
            ("name", &details.name),
            ("email", &details.email),
            ("phone", &details.phone),
            ("address", &details.address),
        ];
        if fields.iter().all(|(_, text)| text.is_none()) {
            return Err(Error::invalid_at("details", "needs at least one detail"));
        }
        for (field, text) in fields {
            if let Some(text) = text {
                crate::holds::words(field, text, FIELD_CHARS_MAX)?;
                self.check_kept(field, text)?;
            }
        }
        Ok(())
    }

    /// Takes a person's details with their consent. The answer names the identity under which
    /// what they do is theirs from now on; the request names no device.
    #[boxed]
    pub async fn opt_in(&self, context: &OpContext, input: OptInInput) -> Result<OptInView> {
        self.authorize_all(context, Action::CollectionWrite, Kind::Tenant)?;
        self.keep_opt_in(context, input).await
    }

    pub(crate) async fn keep_opt_in(
        &self,
        context: &OpContext,
        input: OptInInput,
    ) -> Result<OptInView> {
        let all = Resource::all(context.tenant, Kind::Tenant);
        self.check_opt_in(&input)?;
        let mut identity = [0u8; IDENTITY_BYTES];
        self.rng().fill(&mut identity);
        let OptInDetails { name, email, phone, address } = input.details;
        let stored = StoredOptIn {
            identity: hex::encode(identity),
            text: input.text,
            agreed_at_us: context.at.as_micros(),
            name,
            email,
            phone,
            address,
        };
        let body =
            serde_json::to_vec(&stored).map_err(|error| Error::Internal(error.to_string()))?;
        let entry = RegisterEntry {
            id: RegisterEntryId::generate(context.at, self.rng()),
            kind: RegisterKind::OptIn,
            state: RegisterState::InForce,
            body,
            book: None,
            review_at: None,
            version: 1,
            created_at: context.at,
        };
        let tx = self.0.store.begin(context).await?;
        let known = tx.register_entries(RegisterKind::OptIn).await?.len();
        let max = usize::try_from(REGISTER_ENTRIES_MAX).unwrap_or(usize::MAX);
        if known >= max {
            return Err(LimitExceeded { name: "opt_ins_max", max, actual: known + 1 }.into());
        }
        tx.register_entry_create(&entry).await?;
        // No detail, and no identity: the record says that somebody opted in.
        let change = Change::to(json!({"opt_in": entry.id.to_string()}));
        self.record_change(&tx, context, Action::CollectionWrite, &all, change).await?;
        tx.commit().await?;
        view(&entry)
    }

    /// The details that people gave, newest first.
    #[boxed]
    pub async fn list_opt_ins(&self, context: &OpContext) -> Result<Vec<OptInView>> {
        let resource = self.authorize_all(context, Action::CollectionWrite, Kind::Tenant)?;
        let tx = self.0.store.read(context).await?;
        let entries = tx.register_entries(RegisterKind::OptIn).await?;
        self.note(context, Action::CollectionWrite, &resource, "done");
        entries.iter().map(view).collect()
    }

    /// The details that were given with an address: for a copy of what is kept of its person.
    pub(crate) async fn opt_ins_of(
        &self,
        context: &OpContext,
        email: &str,
    ) -> Result<Vec<OptInView>> {
        let is_theirs = |_: &TenantTx, given: &str| given.trim().eq_ignore_ascii_case(email.trim());
        self.opt_ins_that(context, is_theirs).await
    }

    /// The details that were given with an address that is meant.
    pub(crate) async fn opt_ins_that(
        &self,
        context: &OpContext,
        is_theirs: impl Fn(&TenantTx, &str) -> bool,
    ) -> Result<Vec<OptInView>> {
        let tx = self.0.store.read(context).await?;
        let entries = tx.register_entries(RegisterKind::OptIn).await?;
        let mut views = entries.iter().map(view).collect::<Result<Vec<_>>>()?;
        views.retain(|one| one.details.email.as_deref().is_some_and(|given| is_theirs(&tx, given)));
        Ok(views)
    }

    /// Takes the consent back: the details and the identity are gone at once.
    #[boxed]
    pub async fn withdraw_opt_in(&self, context: &OpContext, id: RegisterEntryId) -> Result<()> {
        self.authorize(context, Action::CollectionWrite, &super::resource(context, id))?;
        self.drop_opt_in(context, id).await
    }

    pub(crate) async fn drop_opt_in(&self, context: &OpContext, id: RegisterEntryId) -> Result<()> {
        let resource = super::resource(context, id);
        let tx = self.0.store.begin(context).await?;
        let entry = tx.register_entry(id).await?;
        if entry.kind != RegisterKind::OptIn {
            return Err(Error::NotFound("opt-in"));
        }
        tx.register_entry_delete(id).await?;
        let change = Change::from(json!({"opt_in": id.to_string()}));
        self.record_change(&tx, context, Action::CollectionWrite, &resource, change).await?;
        Ok(tx.commit().await?)
    }
}
