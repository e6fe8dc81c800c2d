//! The root of the keys of this installation: a file outside the data directory, or what a
//! passphrase makes with the salt in such a file.

use std::sync::Arc;

use veritwin_domain::Rng;
use veritwin_keys::{KeyError, PassphraseRoot, PlatformFile, RootProvider};

use crate::Config;

/// The root of the keys: a file, or what a passphrase makes.
pub(crate) fn open_root(
    config: &Config,
    rng: &Arc<dyn Rng>,
    must_be_there: bool,
) -> Result<Box<dyn RootProvider>, KeyError> {
    let rng = Arc::clone(rng);
    let Some(passphrase) = &config.root_passphrase else {
        let path = config.root_key_dir.join("root.key");
        return Ok(Box::new(if must_be_there {
            PlatformFile::open(&path, rng)?
        } else {
            PlatformFile::open_or_create(&path, rng)?
        }));
    };
    let path = config.root_key_dir.join("root.salt");
    Ok(Box::new(if must_be_there {
        PassphraseRoot::open(&path, passphrase, rng)?
    } else {
        PassphraseRoot::open_or_create(&path, passphrase, rng)?
    }))
}
