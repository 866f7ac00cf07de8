//! Stories of the hub over one harness in memory. Part of [`crate::edge::hub`].
