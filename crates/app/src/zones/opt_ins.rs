//! Details that a person gives of their own will (promise P19): under a fresh random identity that
//! nothing links to a device or to what was let out before, with a signed record of their consent.
//! The record outlives the details.

use std::collections::BTreeMap;

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use serde_json::json;
use veritwin_access::{Action, Kind, Resource};
use veritwin_domain::{
    ActorKind, ConsentId, LimitExceeded, OpContext, RegisterEntryId, Timestamp, UserId,
};
use veritwin_governance::{DeclaredPurpose, LegalBasis, PolicyFacts, ProcessingRole};
use veritwin_keys::sha256;
use veritwin_metastore::{
    ConsentChannel, ConsentDecision, LedgerKind, REGISTER_ENTRIES_MAX, RegisterEntry, RegisterKind,
    RegisterState, TenantTx,
};

use crate::activity::actor_text;
use crate::change::Change;
use crate::consent_record::{Before, ConsentSigner, Decided};
use crate::consents::sealed;
use crate::error::found;
use crate::model::{OptInDetails, OptInInput, OptInView};
use crate::{App, Error, Result};

const FIELD_CHARS_MAX: usize = 300;
const TEXT_CHARS_MAX: usize = 4000;
/// Random bytes of an identity.
const IDENTITY_BYTES: usize = 16;
/// What the records of consent name as their purpose.
const PURPOSE: &str = "public_place_details";
/// How a person may have said that they agree.
const HOWS: [&str; 3] = ["in_writing", "by_word", "electronically"];

/// What was said once, with its signed record.
#[derive(Clone, Serialize, Deserialize)]
struct StoredDecision {
    id: ConsentId,
    at_us: i64,
    record: String,
}

/// What is stored of an opt-in.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct StoredOptIn {
    identity: String,
    /// The words that were agreed to.
    text: String,
    /// How the person said so, and who wrote it down.
    how: String,
    recorded_by: String,
    agreed_at_us: i64,
    withdrawn_at_us: Option<i64>,
    /// The consent, and its withdrawal; neither holds a detail.
    decisions: Vec<StoredDecision>,
    name: Option<String>,
    email: Option<String>,
    phone: Option<String>,
    address: Option<String>,
}

impl StoredOptIn {
    fn read(body: &[u8]) -> Result<Self> {
        let damaged = |_| Error::Internal("a stored opt-in is damaged".to_owned());
        serde_json::from_slice(body).map_err(damaged)
    }

    fn to_store(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::Internal(error.to_string()))
    }

    /// The consent, if it has a record.
    fn given(&self) -> Option<Before> {
        let given = self.decisions.first()?;
        let at = Timestamp::from_micros(given.at_us);
        Some(Before { id: given.id, channel: ConsentChannel::Officer, at })
    }

    /// The identity as records name people; of one that is none, the entry's.
    fn principal(&self, id: RegisterEntryId) -> UserId {
        let mut bytes = [0; IDENTITY_BYTES];
        match hex::decode_to_slice(&self.identity, &mut bytes) {
            Ok(()) => UserId::from_bytes(bytes),
            Err(_) => UserId::from_bytes(*id.as_bytes()),
        }
    }
}

/// What somebody agrees to who gives details: the words are the organisation's.
fn purpose_of(text: &str) -> DeclaredPurpose {
    DeclaredPurpose {
        id: PURPOSE.to_owned(),
        version: 1,
        role: ProcessingRole::Processor,
        basis: LegalBasis::Consent,
        offered: false,
        title: "Details given at a public place".to_owned(),
        text: text.to_owned(),
        translations: BTreeMap::new(),
        recipients: vec!["administrators".to_owned()],
        dpv: "dpv:ServiceProvision".to_owned(),
        field: None,
        data: Some("pd:Contact".to_owned()),
    }
}

fn view(entry: &RegisterEntry) -> Result<OptInView> {
    let stored = StoredOptIn::read(&entry.body)?;
    let StoredOptIn { name, email, phone, address, .. } = stored;
    Ok(OptInView {
        id: entry.id,
        identity: stored.identity,
        text_sha256: hex::encode(sha256(stored.text.as_bytes())),
        text: stored.text,
        how: stored.how,
        recorded_by: stored.recorded_by,
        agreed_at: Timestamp::from_micros(stored.agreed_at_us),
        withdrawn_at: stored.withdrawn_at_us.map(Timestamp::from_micros),
        records: stored.decisions.into_iter().map(|one| one.record).collect(),
        details: OptInDetails { name, email, phone, address },
    })
}

/// By what an officer may name the person who gave these details: their identity, their telephone
/// number, or name and address together. A name alone is many people's.
pub(crate) fn names_of(given: &OptInView) -> Vec<String> {
    let details = &given.details;
    let phone = details.phone.as_deref().map(|phone| phone.trim().to_owned());
    let is_digit = |c: &char| !matches!(c, ' ' | '-' | '(' | ')' | '.' | '/');
    let dense = phone.as_deref().map(|phone| phone.chars().filter(is_digit).collect());
    let whole = details.name.as_deref().zip(details.address.as_deref());
    let whole = whole.map(|(name, address)| format!("{}, {}", name.trim(), address.trim()));
    let all = [Some(given.identity.clone()), phone, dense, whole];
    all.into_iter().flatten().filter(|name| !name.is_empty()).collect()
}

/// Whether a text holds a detail, word by word.
fn holds(text: &str, detail: &str) -> bool {
    let words = |text: &'_ str| -> Vec<String> {
        let parts = text.split(|c: char| !c.is_alphanumeric());
        parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    let (text, detail) = (words(text), words(detail));
    !detail.is_empty() && text.windows(detail.len()).any(|part| part == detail)
}

impl App {
    fn check_opt_in(&self, input: &OptInInput) -> Result<()> {
        let agreed = input.consent;
        #[cfg(feature = "test-controls")]
        let agreed = agreed || self.0.promises.takes_without_consent();
        if !agreed {
            let why = "details are taken only with explicit consent";
            return Err(Error::invalid_at("consent", why));
        }
        if !HOWS.contains(&input.how.as_str()) {
            let why = format!("how the person said so: one of {}", HOWS.join(", "));
            return Err(Error::invalid_at("how", why));
        }
        crate::holds::words("text", &input.text, TEXT_CHARS_MAX)?;
        self.check_kept("text", &input.text)?;
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
            let Some(text) = text else { continue };
            crate::holds::words(field, text, FIELD_CHARS_MAX)?;
            self.check_kept(field, text)?;
            if holds(&input.text, text) {
                let why = "the words are kept when the details are gone: they must not hold one";
                return Err(Error::invalid_at("text", why));
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

    #[boxed]
    pub(crate) async fn keep_opt_in(
        &self,
        context: &OpContext,
        input: OptInInput,
    ) -> Result<OptInView> {
        let all = Resource::all(context.tenant, Kind::Tenant);
        self.check_opt_in(&input)?;
        let signer = self.consent_signer_of(context.tenant).await?;
        let mut identity = [0u8; IDENTITY_BYTES];
        self.rng().fill(&mut identity);
        let OptInDetails { name, email, phone, address } = input.details;
        let mut stored = StoredOptIn {
            identity: hex::encode(identity),
            text: input.text,
            how: input.how,
            recorded_by: actor_text(&context.actor.kind),
            agreed_at_us: context.at.as_micros(),
            withdrawn_at_us: None,
            decisions: Vec::new(),
            name,
            email,
            phone,
            address,
        };
        let id = RegisterEntryId::generate(context.at, self.rng());
        let tx = self.0.store.begin(context).await?;
        let known = tx.register_entries_in(RegisterKind::OptIn, RegisterState::InForce).await?;
        let max = usize::try_from(REGISTER_ENTRIES_MAX).unwrap_or(usize::MAX);
        if known.len() >= max {
            let actual = known.len() + 1;
            return Err(LimitExceeded { name: "opt_ins_max", max, actual }.into());
        }
        let given = (&signer, ConsentDecision::Given);
        self.record_decision((&tx, context), (&mut stored, id), given).await?;
        let entry = RegisterEntry {
            id,
            kind: RegisterKind::OptIn,
            state: RegisterState::InForce,
            body: stored.to_store()?,
            book: None,
            review_at: None,
            version: 1,
            created_at: context.at,
        };
        tx.register_entry_create(&entry).await?;
        // No detail, and no identity: the record says that somebody opted in.
        let change = Change::to(json!({"opt_in": entry.id.to_string()}));
        self.record_change(&tx, context, Action::CollectionWrite, &all, change).await?;
        tx.commit().await?;
        view(&entry)
    }

    /// Adds the signed record of what a person said; its digest is sealed in the organisation's
    /// ledger with it.
    async fn record_decision(
        &self,
        (tx, context): (&TenantTx, &OpContext),
        (stored, id): (&mut StoredOptIn, RegisterEntryId),
        (signer, decision): (&ConsentSigner, ConsentDecision),
    ) -> Result<()> {
        let purpose = purpose_of(&stored.text);
        // Who answers for it is the organisation.
        let (facts, notice) = self.controller()?;
        let facts = PolicyFacts { operator: tx.tenant().await?.name, ..facts };
        let before = stored.given();
        let by = match &context.actor.kind {
            ActorKind::User { user, .. } | ActorKind::Support { user, .. } => {
                Some(*user.as_bytes())
            }
            ActorKind::ApiKey(key) => Some(*key.as_bytes()),
            _ => None,
        };
        let decided = Decided {
            id: ConsentId::generate(context.at, self.rng()),
            user: stored.principal(id),
            purpose: &purpose,
            decision,
            channel: ConsentChannel::Officer,
            at: before.map_or(context.at, |given| given.at.just_after().max(context.at)),
            by,
            expressed: (decision == ConsentDecision::Given).then_some(stored.how.as_str()),
            before,
            controller: (&facts, notice),
        };
        let consent = self.signed(signer, &decided)?;
        let what = (LedgerKind::Consent, Some(*consent.id.as_bytes()));
        self.seal_record(tx, context, what, &sealed(&consent)).await?;
        let (id, at_us) = (consent.id, consent.at.as_micros());
        let record = String::from_utf8(consent.record)
            .map_err(|_| Error::Internal("a consent record is no text".to_owned()))?;
        stored.decisions.push(StoredDecision { id, at_us, record });
        Ok(())
    }

    /// The details that people gave, newest first, and then what is left of those that were taken
    /// back.
    #[boxed]
    pub async fn list_opt_ins(&self, context: &OpContext) -> Result<Vec<OptInView>> {
        let resource = self.authorize_all(context, Action::CollectionWrite, Kind::Tenant)?;
        let tx = self.0.store.read(context).await?;
        let of = RegisterKind::OptIn;
        let mut entries = tx.register_entries_in(of, RegisterState::InForce).await?;
        entries.extend(tx.register_entries_in(of, RegisterState::Ended).await?);
        self.note(context, Action::CollectionWrite, &resource, "done");
        entries.iter().map(view).collect()
    }

    /// The details that were given with an address, or by whom an officer has named: for a copy of
    /// what is kept of its person.
    pub(crate) async fn opt_ins_of(
        &self,
        context: &OpContext,
        (email, person): (Option<&str>, Option<&str>),
    ) -> Result<Vec<OptInView>> {
        let is_theirs = |_: &TenantTx, given: &OptInView| {
            let own = given.details.email.as_deref().zip(email);
            own.is_some_and(|(given, email)| given.trim().eq_ignore_ascii_case(email.trim()))
                || person.is_some_and(|named| names_of(given).iter().any(|one| one == named.trim()))
        };
        self.opt_ins_that(context, is_theirs).await
    }

    /// The details that are meant.
    pub(crate) async fn opt_ins_that(
        &self,
        context: &OpContext,
        is_theirs: impl Fn(&TenantTx, &OptInView) -> bool,
    ) -> Result<Vec<OptInView>> {
        let tx = self.0.store.read(context).await?;
        let entries = tx.register_entries_in(RegisterKind::OptIn, RegisterState::InForce).await?;
        let mut views = entries.iter().map(view).collect::<Result<Vec<_>>>()?;
        views.retain(|one| is_theirs(&tx, one));
        Ok(views)
    }

    /// Takes the consent back: the details are gone at once, and its record says that it was taken
    /// back.
    #[boxed]
    pub async fn withdraw_opt_in(&self, context: &OpContext, id: RegisterEntryId) -> Result<()> {
        self.authorize(context, Action::CollectionWrite, &super::resource(context, id))?;
        self.drop_opt_in(context, id).await
    }

    #[boxed]
    pub(crate) async fn drop_opt_in(&self, context: &OpContext, id: RegisterEntryId) -> Result<()> {
        let resource = super::resource(context, id);
        let signer = self.consent_signer_of(context.tenant).await?;
        let tx = self.0.store.begin(context).await?;
        let mut entry = tx.register_entry(id).await?;
        if entry.kind != RegisterKind::OptIn || entry.state != RegisterState::InForce {
            return Err(Error::NotFound("opt-in"));
        }
        let mut stored = StoredOptIn {
            withdrawn_at_us: Some(context.at.as_micros()),
            name: None,
            email: None,
            phone: None,
            address: None,
            ..StoredOptIn::read(&entry.body)?
        };
        let withdrawn = (&signer, ConsentDecision::Withdrawn);
        self.record_decision((&tx, context), (&mut stored, id), withdrawn).await?;
        entry.state = RegisterState::Ended;
        entry.body = stored.to_store()?;
        tx.register_entry_update(&entry).await?;
        let change = Change::from(json!({"opt_in": id.to_string()}));
        self.record_change(&tx, context, Action::CollectionWrite, &resource, change).await?;
        Ok(tx.commit().await?)
    }

    /// Forgets what was taken back of details that a check gave to these words: it was nobody's.
    pub(crate) async fn forget_opt_ins(&self, context: &OpContext, text: &str) -> Result<()> {
        let tx = self.0.store.begin(context).await?;
        for entry in tx.register_entries_in(RegisterKind::OptIn, RegisterState::Ended).await? {
            if StoredOptIn::read(&entry.body)?.text == text {
                found(tx.register_entry_delete(entry.id).await)?;
            }
        }
        Ok(tx.commit().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_alone_finds_nobody() {
        let details = OptInDetails {
            name: Some("Ada".to_owned()),
            phone: Some("+44 (20) 7946-0000".to_owned()),
            ..OptInDetails::default()
        };
        let mut given = OptInView {
            id: RegisterEntryId::from_bytes([1; 16]),
            identity: "00ff".to_owned(),
            text: String::new(),
            text_sha256: String::new(),
            how: "by_word".to_owned(),
            recorded_by: String::new(),
            agreed_at: Timestamp::EPOCH,
            withdrawn_at: None,
            records: Vec::new(),
            details,
        };
        assert_eq!(names_of(&given), ["00ff", "+44 (20) 7946-0000", "+442079460000"]);
        given.details.phone = None;
        given.details.address = Some(" 1 Nowhere Lane ".to_owned());
        assert_eq!(names_of(&given), ["00ff", "Ada, 1 Nowhere Lane"]);
    }

    #[test]
    fn a_detail_is_found_in_the_words_that_are_kept() {
        let text = "I, Ada Lovelace (ada@site.example), agree.";
        assert!(holds(text, "Ada Lovelace") && holds(text, "ada@site.example"));
        assert!(!holds(text, "Love") && !holds(text, "Ada Byron") && !holds(text, " - "));
    }

    #[test]
    fn what_was_stored_before_records_is_read() {
        let body = br#"{"identity": "one", "text": "yes", "agreed_at_us": 0, "email": "a@b.c"}"#;
        let stored = StoredOptIn::read(body).expect("read");
        assert!(stored.given().is_none() && stored.withdrawn_at_us.is_none());
        let id = RegisterEntryId::from_bytes([3; 16]);
        assert_eq!(stored.principal(id), UserId::from_bytes([3; 16]));
        let identity = "0a".repeat(IDENTITY_BYTES);
        let stored = StoredOptIn { identity, ..StoredOptIn::default() };
        assert_eq!(stored.principal(id), UserId::from_bytes([10; 16]));
    }
}
