//! Programs that run outside the platform, by other parties or on other sites, with their own keys
//! and storage. None of them trusts the platform more than its protocol says.

pub mod archive;
pub mod edge;
pub mod keyproxy;
pub mod witness;
