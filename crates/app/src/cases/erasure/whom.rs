//! Whom an erasure is about, without saying it: the account's id and keyed digests of the address
//! and of the name. They are all that is left of the person, so that a backup of before that is
//! restored can be erased again.

use serde::{Deserialize, Serialize};
use veritwin_domain::{TenantId, UserId};
use veritwin_keys::{SecretKey, constant_time_eq, hmac_sha256};
use veritwin_metastore::TenantTx;

use crate::cases::body::Case;
use crate::{App, Result};

/// Of the platform's secret that names are digested with.
const LABEL: &str = "erased subject v1";

/// What stands between the words of a text and around an address in it.
fn is_between(c: char) -> bool {
    c.is_whitespace() || "<>()[]{},;:\"'".contains(c)
}

/// Whom an erasure is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Whom {
    /// The account, which may be gone.
    pub(crate) user: Option<UserId>,
    /// The keyed index of the address.
    pub(crate) address: Option<[u8; 32]>,
    /// The mark of the name in personal streams.
    pub(crate) person: Option<String>,
}

/// Makes marks of names of one tenant: without it nobody can tell whose a mark is.
pub(crate) struct Marker {
    secret: SecretKey,
    tenant: TenantId,
}

impl Marker {
    fn digest(&self, name: &str) -> [u8; 32] {
        let text = [self.tenant.as_bytes().as_slice(), name.trim().as_bytes()].concat();
        hmac_sha256(self.secret.expose(), &text)
    }

    pub(crate) fn mark(&self, name: &str) -> String {
        hex::encode(self.digest(name))
    }

    /// Whether a mark is a name's.
    pub(crate) fn is_mark_of(&self, mark: &str, name: &str) -> bool {
        let mut known = [0; 32];
        hex::decode_to_slice(mark, &mut known).is_ok()
            && constant_time_eq(&self.digest(name), &known)
    }
}

impl Whom {
    /// Whether an address is theirs.
    pub(super) fn is_address(&self, tx: &TenantTx, text: &str) -> bool {
        self.address.is_some() && tx.subject_index(text.trim()).ok() == self.address
    }

    /// Whether a name in a personal stream is theirs.
    pub(super) fn is_person(&self, marker: &Marker, text: &str) -> bool {
        self.person.as_deref().is_some_and(|mark| marker.is_mark_of(mark, text))
    }

    /// Whether a text is their name, or holds their address.
    pub(super) fn is_in(&self, (tx, marker): (&TenantTx, &Marker), text: &str) -> bool {
        let mut parts = text.split(is_between).map(|part| part.trim_end_matches('.'));
        self.is_person(marker, text)
            || parts.any(|part| part.contains('@') && self.is_address(tx, part))
    }
}

impl App {
    pub(crate) fn marker(&self, tenant: TenantId) -> Result<Marker> {
        Ok(Marker { secret: self.0.keys.platform_subkey(LABEL)?, tenant })
    }

    /// Whom a case is about; also once its account is gone.
    pub(super) fn whom(&self, tenant: TenantId, case: &Case) -> Result<Whom> {
        let gone = || case.body.pseudonym.as_deref().and_then(|id| id.parse().ok());
        let marker = self.marker(tenant)?;
        Ok(Whom {
            user: case.row.user.or_else(gone),
            address: case.row.address,
            person: case.body.person.as_deref().map(|person| marker.mark(person)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_of_one_name_in_one_tenant() {
        let of = |tenant: u8| Marker {
            secret: SecretKey::from_bytes([7; 32]),
            tenant: TenantId::from_bytes([tenant; 16]),
        };
        let mark = of(1).mark("Ada");
        assert!(of(1).is_mark_of(&mark, " Ada "));
        assert!(!of(1).is_mark_of(&mark, "Bob"));
        assert!(!of(2).is_mark_of(&mark, "Ada"));
        assert!(!of(1).is_mark_of("Ada", "Ada"));
        assert!(!mark.contains("Ada"));
        let whom = Whom { person: Some(mark), ..Whom::default() };
        assert!(whom.is_person(&of(1), "Ada"));
        assert!(!Whom::default().is_person(&of(1), "Ada"));
    }
}
