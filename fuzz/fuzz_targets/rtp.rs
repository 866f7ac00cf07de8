//! Any datagram as RTP: header, extensions, and writing what was read. What is written must be read the same again.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use weir::rtp::{ExtensionIds, Extensions, Header, Hop, HopOut, Outgoing, header};

fuzz_target!(|data: &[u8]| {
    let Some((&flags, packet)) = data.split_first() else { return };
    let ids = ExtensionIds {
        mid: Some(1),
        rid: Some(2),
        repaired_rid: Some(3),
        abs_send_time: Some(4),
        transport_cc: Some(5),
        audio_level: Some(6),
        orientation: Some(7),
        playout_delay: Some(8),
        dependency: Some(if flags & 2 == 0 { 9 } else { 90 }),
        capture_time: Some(10),
        allow_mixed: flags & 1 == 0,
    };
    let packet = Bytes::copy_from_slice(packet);
    let Ok(read) = Header::parse(&packet) else { return };
    let payload = read.payload_of(&packet);
    let (ext, hop) = read.extensions(&packet, &ids);

    let out = Outgoing { pt: read.pt, seq: read.seq, timestamp: read.timestamp, ssrc: read.ssrc, marker: read.marker };
    // Its own frame number again; a descriptor too short to have one is left out.
    let numbered = ext.dependency.clone().filter(|descriptor| descriptor.len() >= 3);
    let dependency_frame = numbered.as_ref().map(|descriptor| u16::from_be_bytes([descriptor[1], descriptor[2]]));
    let Hop { mid, rid, repaired_rid, transport_cc, abs_send_time } = hop;
    let hop_out = HopOut { mid, rid, repaired_rid, transport_cc, abs_send_time, dependency_frame };
    let mut buf = Vec::new();
    header::write(&mut buf, &out, &ids, &ext, &hop_out);
    buf.extend_from_slice(&payload);
    let written = Bytes::from(buf);
    let again = Header::parse(&written).expect("what is written is RTP");
    assert_eq!(
        (again.pt, again.seq, again.timestamp, again.ssrc, again.marker),
        (out.pt, out.seq, out.timestamp, out.ssrc, out.marker)
    );
    assert_eq!(again.payload_of(&written), payload);
    if ids.allow_mixed {
        let (ext_again, hop_again) = again.extensions(&written, &ids);
        assert_eq!(ext_again, Extensions { dependency: numbered, ..ext });
        assert_eq!((hop_again.transport_cc, hop_again.abs_send_time), (transport_cc, abs_send_time));
    }
});
