//! Fragments of SDP as WHIP and WHEP clients send them, and the answer to a restart made of any text. What is read stays within its
//! bounds, and what we write can be read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::edge::plan::IceCredentials;
use weir::edge::sdp::{Fragment, restarted};

fuzz_target!(|input: (&str, &str)| {
    let (text, answer) = input;
    let current = IceCredentials { ufrag: "abcd".into(), pwd: "0123456789abcdef012345".into() };
    if let Ok(fragment) = Fragment::parse(text) {
        assert!(fragment.candidates <= 128);
        if let Ok(Some(next)) = fragment.restarts(&current) {
            assert!(next.ufrag.len() <= 256 && next.pwd.len() >= 22);
        }
    }
    let written = restarted(answer, &current);
    assert!(written.contains("a=ice-ufrag:abcd\r\na=ice-pwd:0123456789abcdef012345\r\n"));
    assert!(written.len() <= answer.len() * 3 + 256);
});
