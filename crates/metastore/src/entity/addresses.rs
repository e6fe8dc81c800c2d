//! The form in which addresses for mail are compared, and the forms under which accounts were
//! indexed once.

use crate::{Error, Result};

/// Longest e-mail address, in bytes (RFC 5321, 4.5.3.1: 256 with its brackets).
const EMAIL_BYTES_MAX: usize = 254;

/// The form in which addresses are compared: without surrounding blanks, letters of ASCII in lower
/// case, a domain with other letters in the form that DNS has of it (IDNA). In the name before it
/// any other letter counts as it is: U+212A is no `k` to a mail server.
pub fn normalise_email(address: &str) -> Result<String> {
    let plain = plain_email(address)?;
    let parts = plain.rsplit_once('@').filter(|(_, domain)| !domain.is_ascii());
    let known = parts.and_then(|(name, domain)| {
        // One that DNS cannot have counts as it is.
        let domain = idna::domain_to_ascii_strict(domain).ok()?;
        Some(format!("{name}@{domain}")).filter(|known| known.len() <= EMAIL_BYTES_MAX)
    });
    Ok(known.unwrap_or(plain))
}

/// Whether two addresses are one mailbox's.
pub fn is_same_email(one: &str, other: &str) -> bool {
    if one.trim().eq_ignore_ascii_case(other.trim()) {
        return true;
    }
    // Of ASCII alone nothing else is the same.
    (!one.is_ascii() || !other.is_ascii())
        && normalise_email(one).is_ok_and(|one| normalise_email(other).is_ok_and(|it| it == one))
}

/// The form of before: a domain's letters beyond ASCII count as they are.
pub(super) fn plain_email(address: &str) -> Result<String> {
    checked_email(address.trim().to_ascii_lowercase())
}

/// The form under which addresses with letters beyond ASCII were indexed at first, these in lower
/// case too. What is found by it counts only where the stored address is the same.
pub(super) fn folded_email(address: &str) -> Result<String> {
    checked_email(address.trim().to_lowercase())
}

/// Every form under which an account of an address may be indexed, that of today first. What is
/// found by the others counts only where the stored address is the same.
pub(super) fn indexed_forms(address: &str) -> Result<Vec<String>> {
    let mut forms = vec![normalise_email(address)?];
    let mut before = vec![plain_email(address)?, folded_email(address)?];
    if let Some(written) = in_letters(&forms[0]) {
        before.extend(folded_email(&written).ok());
        before.push(written);
    }
    for form in before {
        if !forms.contains(&form) {
            forms.push(form);
        }
    }
    Ok(forms)
}

/// An address whose domain is in the form of DNS, with the letters that it stands for.
fn in_letters(plain: &str) -> Option<String> {
    let (name, domain) = plain.rsplit_once('@').filter(|(_, domain)| domain.contains("xn--"))?;
    let (domain, read) = idna::domain_to_unicode(domain);
    read.ok().map(|()| format!("{name}@{domain}"))
}

fn checked_email(address: String) -> Result<String> {
    let invalid = |reason| Error::Invalid { what: "e-mail", reason };
    if address.len() > EMAIL_BYTES_MAX {
        return Err(invalid("expected at most 254 bytes"));
    }
    let (local, host) =
        address.rsplit_once('@').ok_or_else(|| invalid("expected the form name@host"))?;
    let blank = |text: &str| text.chars().any(|c| c.is_whitespace() || c.is_control());
    if local.is_empty() || host.is_empty() || blank(&address) {
        return Err(invalid("expected the form name@host"));
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_compared_in_one_form() {
        assert_eq!(normalise_email("  Ada@Example.ORG ").ok().as_deref(), Some("ada@example.org"));
        // The Kelvin sign and a capital I with a dot are letters of ASCII to nobody's mail server.
        for other in ["\u{212a}im@example.org", "k\u{130}m@example.org"] {
            assert_eq!(normalise_email(other).ok().as_deref(), Some(other));
            assert_ne!(normalise_email(other).ok(), normalise_email("kim@example.org").ok());
        }
        for bad in ["", "ada", "@example.org", "ada@", "a b@example.org", &"x".repeat(300)] {
            assert!(normalise_email(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_domain_is_one_however_it_is_written() {
        let known = "ada@xn--bcher-kva.example";
        for same in
            ["Ada@B\u{dc}CHER.example", "ada@b\u{fc}cher.Example", "ADA@XN--Bcher-KVA.example"]
        {
            assert_eq!(normalise_email(same).ok().as_deref(), Some(known), "{same}");
            assert!(is_same_email(same, " Ada@b\u{fc}cher.example"), "{same}");
            assert_eq!(normalise_email(known).ok().as_deref(), Some(known));
            let forms = indexed_forms(same).expect("forms");
            assert!(forms.iter().any(|form| form == "ada@b\u{fc}cher.example"), "{forms:?}");
        }
        assert!(!is_same_email("ada@bucher.example", "ada@b\u{fc}cher.example"));
        assert!(!is_same_email("\u{dc}na@x.example", "\u{fc}na@x.example"));
        // What no domain can be counts as it is, and what is of ASCII alone always did.
        for kept in ["ada@b\u{fc}cher\u{ff20}x.example", "ada@a_b.example", "ada@[192.0.2.1]"] {
            assert_eq!(normalise_email(kept).ok().as_deref(), Some(kept));
        }
        assert_eq!(indexed_forms("Ada@Example.org").expect("forms"), ["ada@example.org"]);
    }
}
