//! A crowd for a server: members that publish what looks like cameras and microphones, and members that receive it and report on it as
//! browsers do. `weir load` drives it; tests and benches use its client.
//!
//! ```text
//!  scenario ─ seats ─▶ drive [io] ─ signal [io] ─ session       what is said, as WebSocket frames
//!                        │             │ Command
//!                        │             ▼
//!                        └── read ── worker [io] ─ member       one thread: sockets, deadlines
//!                                                   ├ transport          ICE, DTLS, SRTP
//!                                                   ├ publisher          voice, vp8
//!                                                   └ subscriber         frames, account
//! ```

pub mod account;
pub mod drive;
mod exchange;
pub mod frames;
pub mod html;
pub mod http;
pub mod layout;
pub mod member;
pub mod noise;
pub mod offer;
pub mod plan;
mod plot;
pub mod publisher;
pub mod report;
pub mod scenario;
pub mod server;
pub mod session;
mod signal;
pub mod subscriber;
mod tls;
pub mod transport;
pub mod voice;
pub mod vp8;
pub mod worker;

#[cfg(test)]
mod session_tests;
#[cfg(test)]
mod tests;
