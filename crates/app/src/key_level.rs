//! The key level of a plan: whose key stands above a tenant's keys. What can be asked for is what
//! the key service offers.

use veritwin_keys::{KEY_LEVELS_OFFERED, KeyLevel};

use crate::{Error, Result};

/// A level by its name, if the key service offers it.
pub fn key_level(name: &str) -> Result<KeyLevel> {
    let level = KeyLevel::from_name(name).filter(|level| level.is_offered());
    level.ok_or_else(|| {
        let offered = KEY_LEVELS_OFFERED.iter().map(|level| format!("\"{}\"", level.as_str()));
        let offered: Vec<String> = offered.collect();
        let detail = format!("expected {}", offered.join(" or "));
        Error::invalid_at("limits.key_level", detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_levels_that_are_offered_are_taken() {
        for level in KeyLevel::ALL {
            let taken = key_level(level.as_str());
            assert_eq!(taken.is_ok(), KEY_LEVELS_OFFERED.contains(&level), "{level:?}");
        }
        for name in ["Platform", "any", ""] {
            match key_level(name) {
                Err(Error::Invalid { detail, at }) => {
                    assert_eq!(at.as_deref(), Some("limits.key_level"));
                    assert!(detail.starts_with("expected \"platform\" or "), "{detail}");
                }
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}
