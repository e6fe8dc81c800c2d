//! Integration tests of the outposts: archive and key proxy over real TLS on loopback, with the
//! platform's own clients.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod archive;
mod keyproxy;
mod stamp;
mod witness;
