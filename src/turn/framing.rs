//! Where one message ends and the next begins on a TCP or TLS connection (RFC 8656 §12.5, RFC 8489 §6.2.2). Owns the sizes that
//! are believed. Used by [`super::shell`]. Pure.

use crate::stun::{HEADER, MAGIC};

/// No message or data is longer: relayed packets are datagrams, and nobody sends such large ones.
pub const MOST_FRAME: usize = 16 * 1024;

/// What the start of a buffer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// A frame of so many bytes.
    Whole(usize),
    /// The beginning of one.
    More,
    /// Neither STUN nor channel data, or too long: the connection can't be understood any more.
    Broken,
}

/// Looks at what was received.
pub fn first(buffer: &[u8]) -> Frame {
    let Some(&kind) = buffer.first() else { return Frame::More };
    let is_stun = kind < 0x40;
    if kind >= 0x80 || (is_stun && buffer.iter().skip(4).zip(MAGIC).any(|(byte, magic)| *byte != magic)) {
        return Frame::Broken;
    }
    let Some(&[_, _, high, low]) = buffer.first_chunk() else { return Frame::More };
    let length = usize::from(u16::from_be_bytes([high, low]));
    // Channel data is padded on a connection, and its length does not say so.
    let whole = if is_stun { HEADER + length } else { 4 + length.next_multiple_of(4) };
    match whole {
        _ if whole > MOST_FRAME || (is_stun && !length.is_multiple_of(4)) => Frame::Broken,
        _ if buffer.len() < whole => Frame::More,
        _ => Frame::Whole(whole),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stun::{BINDING_REQUEST, Writer};

    #[test]
    fn frames_come_out_as_they_went_in() {
        let mut request = Writer::new(BINDING_REQUEST, &[1; 12]);
        request.attribute(0x8022, b"software");
        let request = request.finish();
        let data = [0x40, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0];
        let both = [&request[..], &data[..], &request[..7]].concat();
        assert_eq!(first(&both), Frame::Whole(request.len()));
        assert_eq!(first(&both[request.len()..]), Frame::Whole(data.len()));
        assert_eq!(first(&both[request.len() + data.len()..]), Frame::More);
        for end in 0..request.len() {
            assert_eq!(first(&request[..end]), Frame::More, "{end}");
        }
    }

    #[test]
    fn what_is_no_frame_is_known_by_its_first_bytes() {
        for broken in [
            &b"GET / HTTP/1.1\r\n"[..],
            &[0x16, 3, 1, 2, 0, 1, 0, 1],
            &[0x80],
            &[0, 1, 0, 2],
            &[0x40, 0, 0xff, 0xff],
            &[0, 1, 0xff, 0xfc],
        ] {
            // "GET " looks like channel data of a length that nobody sends.
            assert_eq!(first(broken), Frame::Broken, "{broken:?}");
        }
    }

    proptest! {
        #[test]
        fn no_frame_is_longer_than_the_buffer(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Frame::Whole(length) = first(&bytes) {
                prop_assert!(length <= bytes.len() && length >= 4);
            }
        }
    }
}
