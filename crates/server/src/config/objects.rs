//! Where segments of readings are kept.

use serde::{Deserialize, Serialize};

/// `[objects]`
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub(crate) struct Objects {
    /// Where segments of readings are: `file:` (a folder in the data directory) or
    /// `s3://BUCKET/FRONT`.
    pub(crate) url: String,
    /// `https://HOST:PORT` of a bucket; empty: Amazon's own.
    pub(crate) s3_endpoint: String,
    /// Its region.
    pub(crate) s3_region: String,
    /// Who reads and writes in it.
    pub(crate) s3_access_key_id: String,
    /// With what secret, best given as `VERITWIN__OBJECTS__S3_SECRET_ACCESS_KEY_FILE`.
    #[serde(skip_serializing)]
    pub(crate) s3_secret_access_key: String,
}

impl Default for Objects {
    fn default() -> Self {
        Self {
            url: "file:".to_owned(),
            s3_endpoint: String::new(),
            s3_region: "us-east-1".to_owned(),
            s3_access_key_id: String::new(),
            s3_secret_access_key: String::new(),
        }
    }
}
