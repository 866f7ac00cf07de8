//! The browser's side of a member's media. `transport` carries packets safely to and from it; what they mean is decided
//! above. The modules below are the only ones that know the WebRTC stack.

pub mod client_hello;
pub mod data;
pub mod dtls;
pub mod dtls_guard;
pub mod event;
pub mod ice;
pub mod records;
pub mod route;
pub mod srtp;
pub mod stun;
pub mod transport;
