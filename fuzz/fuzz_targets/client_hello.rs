//! Any datagrams as a ClientHello in pieces, and as a handshake before the guards: bounded, and without a panic. The first
//! byte of each piece says how long it is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::edge::peer::client_hello::Gatherer;
use weir::edge::peer::data_guard;
use weir::edge::peer::dtls_guard::{Guard, Phase};

fuzz_target!(|data: &[u8]| {
    let mut gatherer = Gatherer::default();
    let mut guard = Guard::new(false);
    let mut data_guard = data_guard::Guard::default();
    let mut rest = data;
    while let Some((&length, after)) = rest.split_first() {
        let (piece, after) = after.split_at(usize::from(length).min(after.len()));
        rest = after;
        if let Ok(Some(hello)) = gatherer.push(piece) {
            assert!(hello.datagrams.len() <= 4);
            assert!(hello.datagrams.iter().map(Vec::len).sum::<usize>() <= 8 * 1024);
        }
        guard.judge(piece, Phase::Handshaking);
        guard.judge(piece, Phase::Connected);
        data_guard.judge(piece);
    }
});
