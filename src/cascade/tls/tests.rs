//! Handshakes between nodes.
