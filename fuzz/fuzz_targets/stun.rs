//! Any datagram as STUN: the whole reader and the fast one for the demux must agree on whom a request is for, and no
//! signature may come out right by chance.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::edge::peer::stun::{Key, Message, parse, ufrag_of};

fuzz_target!(|data: &[u8]| {
    let ufrag = ufrag_of(data);
    let Some(Message::Request(request)) = parse(data) else { return };
    if let Some(ufrag) = ufrag {
        assert!(!ufrag.contains(':'));
    }
    let key = Key::new("a password nobody knows");
    assert!(!request.is_from_owner_of(&key));
    let answer = request.success(&key, std::net::SocketAddr::from(([192, 0, 2, 1], 9)));
    assert!(parse(&answer).is_none(), "an answer is no request");
});
