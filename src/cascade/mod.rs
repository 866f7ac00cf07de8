//! Between servers: links, the trees of tracks that grow over them, and what nodes know of each other. Owns everything that is
//! said between nodes. It knows no browser, no room beyond its name, and hands on what rooms say to each other unread.
//!
//! ```text
//!   topology file ─▶ topology ──▶ mesh (pure): nodes, routes, trees ◀── frames ──▶ link (pure), quic [io] ══ QUIC ══ neighbour
//!                                  │                                                  ▲
//!                                  ▼                                                  │
//!                        router (tracks, branches) ──────────── packets ──────────────┘
//! ```

pub mod congestion;
pub mod link;
pub mod mesh;
pub mod quic;
pub mod status;
pub mod tls;
pub mod topology;
pub mod wire;
