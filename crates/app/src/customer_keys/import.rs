//! Bringing a key: the platform shows a public key once, for a day; the customer wraps a key of
//! 256 bits under it. The private key is used once, whatever comes of it.

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use veritwin_access::{Action, Kind};
use veritwin_domain::OpContext;
use veritwin_keys::{
    Aad, DataClass, DekScope, IMPORT_BYTES_MAX, ImportKey, ImportWrapping, KeyLevel, KeyState,
    NewAbove, sealed_dek_id,
};

use super::book::StoredImport;
use super::view::KeyImportView;
use crate::{App, Error, Result};

/// How long a wrapping key is good for.
pub const KEY_IMPORT_LIFE: Duration = Duration::from_secs(86_400);

const SEALED_FOR: &[u8] = b"customer key import";
const IMPORT_ID_BYTES: usize = 16;

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = "-----BEGIN PUBLIC KEY-----\n".to_owned();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, left) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = left;
    }
    out.push_str("-----END PUBLIC KEY-----\n");
    out
}

fn stopped<T>(_: T) -> Error {
    Error::Internal("the import of a key stopped".to_owned())
}

impl App {
    /// Makes a wrapping key for one import. One that was waiting is good no more.
    #[boxed]
    pub async fn begin_key_import(&self, context: &OpContext) -> Result<KeyImportView> {
        let resource = self.authorize_all(context, Action::KeyManage, Kind::Keys)?;
        let tenant = context.tenant;
        self.check_key_plan(tenant, KeyLevel::Brought)?;
        let key = {
            // Seconds of CPU: one at a time, whoever asks.
            let _alone = self.0.key_board.imports.lock().await;
            let made = tokio::task::spawn_blocking(ImportKey::generate);
            made.await.map_err(stopped)??
        };
        let _turn = self.0.key_board.turn(tenant).await;
        let dek = self.0.keys.dek(&DekScope::platform(DataClass::Blob))?;
        let sealed = key.seal(&dek, Aad::new(None, DataClass::Blob, SEALED_FOR))?;
        let mut id = [0u8; IMPORT_ID_BYTES];
        self.rng().fill(&mut id);
        let ends_at = context.at.saturating_add(KEY_IMPORT_LIFE);
        let import = StoredImport {
            id: hex::encode(id),
            sealed: hex::encode(sealed),
            ends_micros: ends_at.as_micros(),
        };
        let view =
            KeyImportView { id: import.id.clone(), public_key_pem: pem(key.public_der()), ends_at };
        self.change_key_book(tenant, |book| book.import = Some(import)).await?;
        self.note(context, Action::KeyManage, &resource, "done");
        Ok(view)
    }

    /// Takes the wrapped key and puts it above the tenant's keys, or gives it back there if it was
    /// taken away. The wrapping key is gone after it, also when the wrapped key is refused.
    #[boxed]
    pub async fn finish_key_import(
        &self,
        context: &OpContext,
        id: &str,
        wrapping: ImportWrapping,
        wrapped: &str,
    ) -> Result<()> {
        let resource = self.authorize_all(context, Action::KeyManage, Kind::Keys)?;
        let tenant = context.tenant;
        self.check_key_plan(tenant, KeyLevel::Brought)?;
        let _turn = self.0.key_board.turn(tenant).await;
        let known = self.key_book(tenant).await?.import;
        let known = known.filter(|known| known.id == id && known.ends_at() > context.at);
        let Some(known) = known else {
            return Err(Error::NotFound("no such import waits for a key"));
        };
        let Some(wrapped) = STANDARD.decode(wrapped).ok().filter(|it| it.len() <= IMPORT_BYTES_MAX)
        else {
            return Err(Error::invalid_at("wrapped_key", "expected base 64"));
        };
        self.change_key_book(tenant, |book| book.import = None).await?;
        let damaged = |_| Error::Internal("a stored import key is damaged".to_owned());
        let sealed = hex::decode(&known.sealed).map_err(damaged)?;
        let dek = self.0.keys.dek_by_id(sealed_dek_id(&sealed)?)?;
        let aad = Aad::new(None, DataClass::Blob, SEALED_FOR);
        let import = ImportKey::from_sealed(&dek, aad, &sealed)?;
        let opened = tokio::task::spawn_blocking(move || import.unwrap(wrapping, &wrapped));
        let Ok(key) = opened.await.map_err(stopped)? else {
            let detail = "it does not hold a key of 256 bits under this wrapping key";
            return Err(Error::invalid_at("wrapped_key", detail));
        };
        let fingerprint = hex::encode(veritwin_keys::brought_fingerprint(&key));
        let status = self.0.keys.status(Some(tenant))?;
        let is_back =
            status.level == KeyLevel::Brought && matches!(status.state, KeyState::Revoked { .. });
        if is_back {
            if self.0.keys.give_back_brought(tenant, &key).is_err() {
                let detail = "this is not the key that was taken away";
                return Err(Error::Conflict(detail.to_owned()));
            }
            self.alert_sources_changed(tenant);
            self.note(context, Action::KeyManage, &resource, "done");
            return Ok(());
        }
        let after = json!({"level": KeyLevel::Brought.as_str(), "fingerprint": fingerprint});
        self.record_level(context, &resource, after).await?;
        self.settle_key_change(tenant).await?;
        let kek = self.0.keys.new_kek(tenant)?;
        self.install_kek(kek, NewAbove::Brought(key)).await?;
        self.0.key_board.forget(tenant);
        self.change_key_book(tenant, |book| {
            book.service = None;
            book.change = None;
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_key_is_pem_of_64_characters_a_line() {
        let text = pem(&[7; 100]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "-----BEGIN PUBLIC KEY-----");
        assert_eq!(lines[lines.len() - 1], "-----END PUBLIC KEY-----");
        assert_eq!(lines[1..lines.len() - 1].concat(), STANDARD.encode([7; 100]));
        assert!(lines.iter().all(|line| line.len() <= 64));
    }
}
