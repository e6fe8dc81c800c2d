//! Sabotage twins of the checks, compiled for tests only: switches that break a feature so that
//! its promise has to turn red.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use veritwin_domain::{Screening, Secret};
use veritwin_keys::sha256;

use super::PromiseBoard;
use crate::App;

/// Which features are broken, by promise number, and what the broken ones left.
#[derive(Debug, Default)]
pub(super) struct Sabotage {
    broken: AtomicU64,
    leaked: Mutex<Option<PathBuf>>,
    victim: Mutex<Option<String>>,
}

impl Sabotage {
    fn is_on(&self, promise: u8) -> bool {
        self.broken.load(Ordering::SeqCst) & (1u64 << (promise % 64)) != 0
    }
}

impl PromiseBoard {
    /// Whether the feature of a promise is broken on purpose.
    pub(crate) fn is_sabotaged(&self, promise: u8) -> bool {
        self.sabotage.is_on(promise)
    }

    /// P05 and P06: what must not be kept is not looked for.
    pub(crate) fn weakened(&self, screening: Screening) -> Screening {
        let weaker = if self.sabotage.is_on(5) { screening.without_cards() } else { screening };
        if self.sabotage.is_on(6) { weaker.without_people() } else { weaker }
    }

    /// P32, and one of the protections of P38: the hash of a platform that does not care; nobody
    /// can sign in with it.
    pub(crate) fn weak_password_hash(&self, text: &Secret<String>) -> Option<String> {
        use base64::Engine as _;
        (self.sabotage.is_on(32) || self.sabotage.is_on(38)).then(|| {
            let engine = base64::engine::general_purpose::STANDARD_NO_PAD;
            let digest = engine.encode(sha256(text.expose().as_bytes()));
            format!("$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA${digest}")
        })
    }

    /// P01: readings are sealed of who is not subscribed, too.
    pub(crate) fn seals_everybody(&self) -> bool {
        self.sabotage.is_on(1)
    }

    /// P09: requests of a partner's customers go past the partner.
    pub(crate) fn is_partner_passed_over(&self) -> bool {
        self.sabotage.is_on(9)
    }

    /// P24: what is in memory is shown whatever became of its key.
    pub(crate) fn forgets_keys(&self) -> bool {
        self.sabotage.is_on(24)
    }

    /// P29 and P30: the platform forgets to ask about one action.
    pub(crate) fn forgets_rights(&self, action: veritwin_access::Action) -> bool {
        use veritwin_access::Action;
        match action {
            Action::DestructionCreate => self.sabotage.is_on(29),
            Action::KeyRead => self.sabotage.is_on(30),
            _ => false,
        }
    }

    /// P26: a payload that is not the one its leaf names.
    pub(crate) fn alter_payload(&self, payload: &mut [u8]) {
        if self.sabotage.is_on(26)
            && let Some(byte) = payload.last_mut()
        {
            *byte ^= 1;
        }
    }

    /// P18: numbers of public zones are let out without noise.
    pub(crate) fn lets_out_bare_numbers(&self) -> bool {
        self.sabotage.is_on(18)
    }

    /// P19: details are taken of who did not agree.
    pub(crate) fn takes_without_consent(&self) -> bool {
        self.sabotage.is_on(19)
    }

    /// P20: what the location file says of coordinates is kept as well.
    pub(crate) fn keeps_coordinates(&self) -> bool {
        self.sabotage.is_on(20)
    }

    /// P34: nothing that is found is written down.
    pub(crate) fn is_watch_blind(&self) -> bool {
        self.sabotage.is_on(34)
    }

    /// P35: taking a grant back changes nothing.
    pub(crate) fn is_revocation_ignored(&self) -> bool {
        self.sabotage.is_on(35)
    }

    /// P16: the record is not the one that was signed.
    pub(crate) fn with_damaged_record(
        &self,
        mut consent: veritwin_metastore::Consent,
    ) -> veritwin_metastore::Consent {
        if self.sabotage.is_on(16) {
            let text = String::from_utf8_lossy(&consent.record).replace("explicit", "implicit");
            consent.record = text.into_bytes();
        }
        consent
    }

    /// P17: a withdrawal is not heeded. P58: whoever uses the service is taken to have agreed.
    pub(crate) fn overlooks(&self, judged: Result<(), veritwin_governance::UseRefused>) -> bool {
        use veritwin_governance::UseRefused;
        match judged {
            Err(UseRefused::Withdrawn) => self.sabotage.is_on(17),
            Err(UseRefused::NoConsent) => self.sabotage.is_on(58),
            _ => false,
        }
    }

    /// P62: a link between the texts leads nowhere.
    pub(crate) fn with_broken_links(
        &self,
        mut blocks: Vec<veritwin_governance::Block>,
    ) -> Vec<veritwin_governance::Block> {
        if self.sabotage.is_on(62) {
            for sentence in blocks.iter_mut().flat_map(|block| &mut block.sentences) {
                sentence.text = sentence.text.replace("(/legal/", "(/lega/");
            }
        }
        blocks
    }

    /// P43 and P45: what people limited is shown as before.
    pub(crate) fn forgets_limits(&self) -> bool {
        self.sabotage.is_on(43) || self.sabotage.is_on(45)
    }

    /// P47: nobody works out when a case is looked at.
    pub(crate) fn forgets_clocks(&self) -> bool {
        self.sabotage.is_on(47)
    }

    /// P03: a copy holds something of its person that is in no list.
    pub(crate) fn with_stray_field(
        &self,
        mut sections: Vec<(&'static str, Vec<serde_json::Value>)>,
    ) -> Vec<(&'static str, Vec<serde_json::Value>)> {
        let rows = sections.iter_mut().find(|(store, _)| *store == "account");
        if self.sabotage.is_on(3)
            && let Some(row) = rows.and_then(|(_, rows)| rows.first_mut())
        {
            row["born_at"] = serde_json::Value::Null;
        }
        sections
    }

    /// P10: letters quote what was asked for.
    pub(crate) fn with_what_was_asked(&self, text: String, asked: &str) -> String {
        if self.sabotage.is_on(10) { format!("{text}\n\n> {asked}") } else { text }
    }

    /// P61: a profile has lost an entry, and says nothing of it.
    pub(crate) fn lose_an_entry(&self, profiles: &mut [crate::model::JurisdictionView]) {
        if self.sabotage.is_on(61)
            && let Some(profile) = profiles.last_mut()
        {
            profile.authority = None;
        }
    }

    /// P53: nothing is purged.
    pub(crate) fn keeps_everything(&self) -> bool {
        self.sabotage.is_on(53)
    }

    pub(super) fn note_victim(&self, device: &str) {
        *self.sabotage.victim.lock() = Some(device.to_owned());
    }
}

impl App {
    /// Leaves the tenant's filter out of every statement, or puts it back: what refuses then is
    /// the database.
    pub fn forget_tenant_filter(&self, on: bool) {
        veritwin_metastore::forget_tenant_filter(on);
    }

    /// Breaks or mends the feature behind a promise.
    pub fn sabotage(&self, promise: u8, on: bool) {
        if promise == 27 {
            self.sabotage_archive(on);
        }
        let bit = 1u64 << (promise % 64);
        let broken = &self.0.promises.sabotage.broken;
        if on {
            broken.fetch_or(bit, Ordering::SeqCst);
        } else {
            broken.fetch_and(!bit, Ordering::SeqCst);
            if promise == 22
                && let Some(path) = self.0.promises.sabotage.leaked.lock().take()
            {
                let _ = std::fs::remove_file(path);
            }
        }
    }

    /// P27: the platform's own archive acknowledges forks while this lies in its directory.
    fn sabotage_archive(&self, on: bool) {
        let path = self.0.config.data.join("archive/sabotaged");
        let _ = if on { std::fs::write(path, "") } else { std::fs::remove_file(path) };
    }

    /// P02: whoever is to be called is registered by that.
    pub(crate) fn enter_anybody(&self, target: &veritwin_outbound::guard::Target) {
        use veritwin_outbound::register::DestinationKind;
        if self.0.promises.is_sabotaged(2) {
            let place = crate::route_places::place_at(target);
            self.0.egress.register(place, DestinationKind::Recipient, "sabotage");
        }
    }

    /// P22: the platform also writes what it stores in clear.
    pub(super) fn leak(&self, text: &str) {
        if self.0.promises.sabotage.is_on(22) {
            let path = self.0.config.data.join("notes.txt");
            let _ = std::fs::write(&path, text);
            *self.0.promises.sabotage.leaked.lock() = Some(path);
        }
    }

    /// P31: whether a text is the id of a device that the caller of the check must not know of.
    pub fn is_hidden_device(&self, id: &str) -> bool {
        self.0.promises.sabotage.victim.lock().as_deref() == Some(id)
    }
}
