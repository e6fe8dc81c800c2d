//! The receipt of a consent and the link in it that takes the consent back without a sign-in. The
//! link holds nothing but the consent's id and that the platform wrote it; it never ends.

use veritwin_domain::{ConsentId, OpContext, Secret};
use veritwin_governance::{DeclaredPurpose, Language};
use veritwin_keys::{constant_time_eq, hmac_sha256};
use veritwin_metastore::{Consent, MailRank, NewMail, PlatformTx};

use crate::consent_words::ConsentWords;
use crate::languages::{filled, moment_in, read_language};
use crate::mail::{MailPayload, mail_key};
use crate::mail_kinds::MessageKind;
use crate::{App, Error, Result};

const LINK_LABEL: &str = "consent links v1";
const MAC_BYTES: usize = 16;
pub(crate) const UNKNOWN_LINK: Error = Error::NotFound("link");

impl App {
    /// The receipt of a consent, with the link that takes it back.
    pub(crate) async fn mail_receipt(
        &self,
        tx: &PlatformTx,
        (context, pages): (&OpContext, &str),
        purpose: &DeclaredPurpose,
        consent: &Consent,
    ) -> Result<()> {
        if self.0.mailer.is_none() {
            return Ok(());
        }
        let to = tx.user(consent.user).await?.email;
        // People whom a check made up have no mailbox (RFC 2606).
        if to.ends_with(".invalid") {
            return Ok(());
        }
        let token = self.consent_token(consent.id)?;
        let chosen = tx.user_language(consent.user).await?;
        let language = chosen.map_or(Language::English, read_language);
        let (subject, text) = ConsentWords::of(language).receipt;
        let (title, words) = purpose.words(language);
        let (at, version) = (moment_in(language, consent.at), purpose.version.to_string());
        let link = format!("{pages}/withdraw#{}", token.expose());
        let said = [
            ("title", title),
            ("at", at.as_str()),
            ("version", version.as_str()),
            ("text", words),
            ("link", link.as_str()),
        ];
        let mail = MailPayload {
            to,
            subject: filled(subject, &said),
            text: filled(text, &said),
            voice: Some(context.tenant),
            ..MailPayload::of(MessageKind::Policy)
        };
        let body = serde_json::to_vec(&mail).map_err(|error| Error::Internal(error.to_string()))?;
        let key = mail_key(&format!("consent {}", consent.id), &mail.to);
        tx.outbox_add(NewMail::new(MailRank::Account, &key, &body), mail.voice).await?;
        Ok(())
    }

    /// What follows `#` in a link that withdraws: the consent, and that the platform wrote it.
    pub(crate) fn consent_token(&self, id: ConsentId) -> Result<Secret<String>> {
        let mac = self.consent_mac(id.as_bytes())?;
        Ok(Secret::new(hex::encode([id.as_bytes().as_slice(), &mac].concat())))
    }

    fn consent_mac(&self, id: &[u8; 16]) -> Result<[u8; MAC_BYTES]> {
        let key = self.0.keys.platform_subkey(LINK_LABEL)?;
        let whole = hmac_sha256(key.expose(), id);
        let mut mac = [0; MAC_BYTES];
        mac.copy_from_slice(&whole[..MAC_BYTES]);
        Ok(mac)
    }

    pub(crate) fn consent_of_link(&self, token: &str) -> Result<ConsentId> {
        let bytes = hex::decode(token).map_err(|_| UNKNOWN_LINK)?;
        let (id, mac) = bytes.split_first_chunk::<16>().ok_or(UNKNOWN_LINK)?;
        if !constant_time_eq(mac, &self.consent_mac(id)?) {
            return Err(UNKNOWN_LINK);
        }
        Ok(ConsentId::from_bytes(*id))
    }
}
