//! The words around the notice of a transfer of the business, in each language of the product: to
//! whom, from when, and what stays as it is. The notice itself stands as it was written.

use serde::{Deserialize, Serialize};
use veritwin_domain::Timestamp;
use veritwin_governance::Language;

use crate::languages::{Worded, filled, moment_in};
use crate::registers::TRANSFER_NOTICE_DAYS;

/// A transfer as its register announces it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Transfer {
    pub(super) acquirer: String,
    /// RFC 3339.
    pub(super) effective_at: String,
    /// The notice, as it was written.
    pub(super) text: String,
}

/// A subject and what stands behind the notice.
const fn words(language: Language) -> (&'static str, &'static str) {
    match language {
        Language::English => (
            "Transfer of the business to {acquirer}",
            "It takes effect on {at}, and not before this notice has been out for {days} days. \
             What you agreed to and what you can ask for stay as they are until then.",
        ),
        Language::ChineseTraditional => (
            "業務移轉予 {acquirer}",
            "此移轉於 {at} 生效，且不早於本通知發出後 {days} 天。在此之前，您所同意的內容與\
             您可提出的請求維持不變。",
        ),
        Language::Japanese => (
            "{acquirer}への事業の譲渡",
            "譲渡は{at}に発効し、この通知から{days}日が過ぎるまでは発効しません。\
             それまで、同意された内容とご請求いただけることは変わりません。",
        ),
        Language::Korean => (
            "{acquirer}(으)로의 사업 이전",
            "이전은 {at}에 효력이 발생하며, 이 통지 후 {days}일이 지나기 전에는 발생하지 않습니다. \
             그때까지 동의하신 내용과 요청하실 수 있는 사항은 그대로 유지됩니다.",
        ),
    }
}

impl Transfer {
    /// The mail in a language.
    fn worded(&self, language: Language) -> Worded {
        let at = Timestamp::parse_rfc3339(&self.effective_at);
        let at = at.map_or_else(|_| self.effective_at.clone(), |at| moment_in(language, at));
        let days = TRANSFER_NOTICE_DAYS.to_string();
        let (subject, behind) = words(language);
        let subject = filled(subject, &[("acquirer", self.acquirer.as_str())]);
        let behind = filled(behind, &[("at", at.as_str()), ("days", days.as_str())]);
        (language, subject, format!("{}\n\n{behind}", self.text))
    }

    /// The mail in each language, English first.
    pub(super) fn mails(&self) -> Vec<Worded> {
        Language::ALL.into_iter().map(|language| self.worded(language)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_language_says_to_whom_and_when() {
        let transfer = Transfer {
            acquirer: "{days} Buyer".to_owned(),
            effective_at: "2199-01-01T00:00:00Z".to_owned(),
            text: "We are {at} sold.".to_owned(),
        };
        let mails = transfer.mails();
        assert_eq!(mails.len(), Language::ALL.len());
        for (language, subject, text) in &mails {
            assert!(subject.contains("{days} Buyer"), "{language:?}: {subject}");
            assert!(text.starts_with("We are {at} sold.\n\n"), "{text}");
            assert!(text.contains("2199") && text.contains("00:00 UTC"), "{text}");
            assert!(text.contains("30"), "{text}");
        }
        assert_eq!(mails[0].1, "Transfer of the business to {days} Buyer");
    }
}
