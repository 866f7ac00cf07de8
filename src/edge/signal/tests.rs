//! The WebSocket shell, tried over real sockets on loopback. Part of [`crate::edge::signal`].
