//! Mail as evidence: DKIM signatures, the attachments of a mail, and folders of the mails that a
//! platform sends to auditors. It fetches nothing: whose key is right is the reader's to say.

mod canonical;
mod chains;
mod dkim;
mod parts;
mod receipts;
#[cfg(test)]
mod tests;

pub use dkim::{
    DkimAlgorithm, DkimCheck, DkimDraft, DkimError, DkimKey, DkimKeys, DkimOutcome, DkimPlace,
    dkim_checks,
};
pub use parts::{ATTACHMENTS_MAX, Attachment, MailPartsError, attachments};
pub use receipts::{
    Bridge, LEDGER_MAIL_FILE, LedgerMail, MAIL_BYTES_MAX, MAILS_MAX, MailFile, ReceiptChain,
    ReceiptOptions, ReceiptReport, receipts,
};
