//! How moments stand in stored contents: as RFC 3339, which people can read in a history.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use veritwin_domain::Timestamp;

pub(crate) fn serialize<S: Serializer>(
    at: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    at.map(|at| at.to_string()).serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Timestamp>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    let parse = |text: String| Timestamp::parse_rfc3339(&text).map_err(serde::de::Error::custom);
    text.map(parse).transpose()
}
