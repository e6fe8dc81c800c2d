//! Parts of the configuration: who runs the installation, and what may be called.

use veritwin_domain::AddressList;

use crate::model::SubProcessor;

/// Who runs the installation: what the published texts say of it.
#[derive(Debug, Clone, Default)]
pub struct Operator {
    /// The name.
    pub name: String,
    /// The postal address.
    pub address: String,
    /// Where requests about personal data go: a mail address or a page.
    pub contact: String,
    /// The law that governs the texts, as a sentence goes on: `the law of Taiwan`.
    pub law: String,
    /// The court that decides, likewise.
    pub court: String,
    /// The providers that the service is run with.
    pub sub_processors: Vec<SubProcessor>,
}

/// What the operator allows of calls to addresses that tenants choose.
#[derive(Debug, Clone, Default)]
pub struct Outbound {
    /// Networks that are called although they are not public, such as an identity provider on the
    /// operator's premises.
    pub allowed_networks: AddressList,
    /// Ports that may be named; none: 443 and 8443.
    pub ports: Vec<u16>,
    /// Authorities that are trusted beside the public ones, PEM.
    pub authorities_pem: Option<String>,
}
