//! Whether settings can be right at all, before anything is called. Errors name the field and what
//! is expected, never what was written into a secret one.

use veritwin_domain::Secret;
use veritwin_keys::{
    PROVIDER_CREDENTIAL_BYTES_MAX, PROVIDER_TEXT_BYTES_MAX, ProviderError, ProviderSettings,
};

pub(super) fn invalid(detail: impl Into<String>) -> ProviderError {
    ProviderError::Invalid(detail.into())
}

fn bounded(field: &str, text: &str, max: usize) -> Result<(), ProviderError> {
    if text.is_empty() {
        return Err(invalid(format!("{field} is empty: leave it out, or say what it is")));
    }
    if text.len() > max {
        let actual = text.len();
        return Err(invalid(format!("{field} has {actual} bytes: at most {max}")));
    }
    Ok(())
}

/// What every kind has in common.
pub(super) fn check(settings: &ProviderSettings) -> Result<(), ProviderError> {
    let texts = [
        ("address", Some(&settings.address)),
        ("key", Some(&settings.key)),
        ("place", settings.place.as_ref()),
        ("user", settings.user.as_ref()),
    ];
    for (field, text) in texts {
        let Some(text) = text else { continue };
        bounded(field, text, PROVIDER_TEXT_BYTES_MAX)?;
        if text.chars().any(char::is_control) {
            return Err(invalid(format!("{field} holds a control character")));
        }
    }
    let secrets = [
        ("credential", settings.credential.as_ref().map(Secret::expose)),
        ("trust", settings.trust.as_ref()),
    ];
    for (field, text) in secrets {
        if let Some(text) = text {
            bounded(field, text, PROVIDER_CREDENTIAL_BYTES_MAX)?;
        }
    }
    Ok(())
}

/// A field that this kind does not use.
pub(super) fn absent(field: &str, is_there: bool) -> Result<(), ProviderError> {
    if is_there {
        return Err(invalid(format!(
            "{field} has no meaning for this kind of service: leave it out"
        )));
    }
    Ok(())
}

/// A field that this kind needs.
pub(super) fn needed<'a, T>(
    field: &str,
    value: Option<&'a T>,
    expected: &str,
) -> Result<&'a T, ProviderError> {
    value.ok_or_else(|| invalid(format!("{field} is missing: expected {expected}")))
}

/// A text of certain characters, of a certain length.
pub(super) fn spelt(
    field: &str,
    text: &str,
    (least, most): (usize, usize),
    allowed: fn(u8) -> bool,
    expected: &str,
) -> Result<(), ProviderError> {
    if (least..=most).contains(&text.len()) && text.bytes().all(allowed) {
        return Ok(());
    }
    Err(invalid(format!("{field}: expected {expected}")))
}

#[cfg(test)]
mod tests {
    use veritwin_keys::ProviderKind;

    use super::*;

    #[test]
    fn errors_name_the_field_and_not_the_secret() {
        let good = ProviderSettings {
            kind: ProviderKind::Xks,
            address: "https://proxy.example".to_owned(),
            key: "key-1".to_owned(),
            place: None,
            user: Some("AKID".to_owned()),
            credential: Some(Secret::new("hunter2".repeat(4))),
            trust: None,
        };
        assert_eq!(check(&good), Ok(()));
        let long = "hunter2".repeat(PROVIDER_CREDENTIAL_BYTES_MAX);
        for (settings, field) in [
            (ProviderSettings { address: String::new(), ..good.clone() }, "address"),
            (ProviderSettings { key: "a\nb".to_owned(), ..good.clone() }, "key"),
            (ProviderSettings { place: Some("x".repeat(3000)), ..good.clone() }, "place"),
            (ProviderSettings { user: Some(String::new()), ..good.clone() }, "user"),
            (
                ProviderSettings { credential: Some(Secret::new(long)), ..good.clone() },
                "credential",
            ),
            (ProviderSettings { trust: Some(String::new()), ..good }, "trust"),
        ] {
            let error = check(&settings).expect_err(field).to_string();
            assert!(error.contains(field) && !error.contains("hunter2"), "{error}");
        }
    }
}
