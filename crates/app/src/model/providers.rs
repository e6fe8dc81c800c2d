//! Sign-in through a tenant's own provider.

use veritwin_domain::{Role, Secret, TenantId, Timestamp};

/// What an administrator sets.
#[derive(Debug)]
pub struct ProviderInput {
    /// What the sign-in page calls it.
    pub name: String,
    /// The issuer: `https://...`, exactly as its tokens say.
    pub issuer: String,
    /// The client's id there.
    pub client_id: String,
    /// The client's secret; none keeps the one that is there, for the same issuer and client.
    pub client_secret: Option<Secret<String>>,
    /// The domains whose addresses count.
    pub domains: Vec<String>,
    /// Whether the sign-in page offers it.
    pub enabled: bool,
    /// The role of people who are new here; none: nobody is made by signing in.
    pub role_of_new: Option<Role>,
    /// Whether a sign-in there counts as two factors, whatever it says.
    pub counts_as_second_factor: bool,
}

/// What is set.
#[derive(Debug, Clone)]
pub struct ProviderView {
    /// What the sign-in page calls it.
    pub name: String,
    /// The issuer.
    pub issuer: String,
    /// The client's id there.
    pub client_id: String,
    /// Whether the client has a secret.
    pub has_secret: bool,
    /// The domains whose addresses count.
    pub domains: Vec<String>,
    /// Whether the sign-in page offers it.
    pub enabled: bool,
    /// The role of people who are new here.
    pub role_of_new: Option<Role>,
    /// Whether a sign-in there counts as two factors.
    pub counts_as_second_factor: bool,
    /// Counts changes; 0: nothing is set.
    pub version: i64,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// What a sign-in page offers.
#[derive(Debug)]
pub struct ProviderOffer {
    /// Whose people.
    pub tenant: TenantId,
    /// What it is called.
    pub name: String,
}

/// How a sign-in begins.
#[derive(Debug, Clone, Copy)]
pub struct ProviderStart<'a> {
    /// The tenant whose provider it is; none: the one of the host name.
    pub tenant: Option<TenantId>,
    /// The host name the page came from.
    pub host: Option<&'a str>,
    /// Where the provider sends the person back to.
    pub redirect_uri: &'a str,
    /// The provider has to ask who it is, whoever is signed in there.
    pub is_fresh: bool,
    /// The person says that they are 18 or older and act for a business.
    pub attested: bool,
}

/// A sign-in that was begun.
#[derive(Debug)]
pub struct ProviderStarted {
    /// Where the person goes.
    pub address: String,
    /// What the page keeps until they come back; nobody else may finish this sign-in.
    pub secret: Secret<String>,
}

/// What the provider sent the person back with.
#[derive(Debug)]
pub struct ProviderReturn<'a> {
    /// What the page kept.
    pub secret: Secret<String>,
    /// `state`.
    pub state: String,
    /// `code`; none: the provider refused.
    pub code: Option<Secret<String>>,
    /// `iss` (RFC 9207).
    pub issuer: Option<String>,
    /// As at the start.
    pub redirect_uri: &'a str,
}
