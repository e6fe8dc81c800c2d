//! Integration tests of the outposts: the archive over real TLS on loopback, with the platform's
//! own client.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod archive;
