//! Any bytes as what a neighbour may send: frames of the control stream in any pieces, media streams, datagrams. What is read
//! must be within its limits and be written the same again.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use weir::cascade::link::receive::{Received, Receiver};
use weir::cascade::link::rtp;
use weir::cascade::wire::{Decoder, Frame, MAX_FRAME, VERSION};

fuzz_target!(|data: &[u8]| {
    let Some((&[piece, version], bytes)) = data.split_first_chunk() else { return };
    let piece = usize::from(piece).max(1);
    let version = version % (VERSION + 2);

    let mut decoder = Decoder::default();
    decoder.speak(version);
    // As it came, and as one frame with its length in front.
    let framed: Vec<u8> = (bytes.len() as u32).to_be_bytes().into_iter().chain(bytes.iter().copied()).collect();
    for stream in [bytes, &framed] {
        for part in stream.chunks(piece) {
            decoder.push(part);
            while let Some(frame) = decoder.next() {
                if let Ok(frame) = &frame {
                    again(frame);
                }
            }
        }
    }

    let mut receiver = Receiver::default();
    let shared = Bytes::copy_from_slice(bytes);
    if let Ok(Received::Media { rtp: packet, .. }) = receiver.datagram(shared.clone()) {
        let _ = rtp::read(&packet);
    }
    let mut out = Vec::new();
    for part in bytes.chunks(piece) {
        if receiver.chunk(0, Bytes::copy_from_slice(part), &mut out).is_err() {
            break;
        }
    }
    let _ = receiver.end(0);
    for received in out {
        if let Received::Media { rtp: packet, .. } = received {
            assert!(packet.len() <= rtp::MAX_PACKET);
            let _ = rtp::read(&packet);
        }
    }
});

fn again(frame: &Frame) {
    let mut bytes = Vec::new();
    frame.encode(VERSION, &mut bytes).expect("what was read is within the limits");
    assert!(bytes.len() <= MAX_FRAME + 4);
    assert_eq!(Frame::decode(&bytes[4..], VERSION).as_ref(), Ok(frame));
}
