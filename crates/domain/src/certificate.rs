//! What a device shows of itself in a TLS handshake that proved its private key.

use std::fmt;

/// The certificates that a client showed, DER, its own first. The handshake proved that it holds
/// the private key of its own; nothing says yet that anybody trusts them.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Its own.
    pub leaf: Vec<u8>,
    /// Those between its own and an authority's.
    pub between: Vec<Vec<u8>>,
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let certificates = 1 + self.between.len();
        f.debug_struct("ClientCertificate").field("certificates", &certificates).finish()
    }
}
