//! Whose the key above a tenant's keys is, and which of that this key service offers.

/// Whose the root above a tenant's keys is, from the weakest wish to the strongest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum KeyLevel {
    /// The platform's.
    #[default]
    Platform,
    /// Brought by the customer, kept by the platform (BYOK).
    Brought,
    /// Held by the customer, who is asked for each use (HYOK).
    Held,
}

/// The levels that the key service offers. Whoever adds a provider for customers' keys adds its
/// level here; everything else asks this list.
pub const KEY_LEVELS_OFFERED: &[KeyLevel] = &KeyLevel::ALL;

impl KeyLevel {
    /// Every level there is.
    pub const ALL: [Self; 3] = [Self::Platform, Self::Brought, Self::Held];

    /// The name used in plans and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Brought => "brought",
            Self::Held => "held",
        }
    }

    /// From its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == name)
    }

    /// Whether the key service offers it.
    pub fn is_offered(self) -> bool {
        KEY_LEVELS_OFFERED.contains(&self)
    }
}
