//! What benches of whole processes share.

pub(crate) mod usage;
pub(crate) mod weir;
