//! The retransmission payload format (RFC 4588 §4): the original sequence number in front of the original payload.

use bytes::Bytes;

/// The original sequence number and payload of an RTX packet's payload. `None` for padding, which browsers send as RTX
/// to probe for bandwidth.
pub fn original(payload: &Bytes) -> Option<(u16, Bytes)> {
    let seq = *payload.first_chunk()?;
    Some((u16::from_be_bytes(seq), payload.slice(2..)))
}

/// What goes between an RTX packet's header and the original payload.
pub const fn prefix(original: u16) -> [u8; 2] {
    original.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_original_comes_back() {
        let payload = Bytes::from([&prefix(0xFFFE)[..], b"frame"].concat());
        assert_eq!(original(&payload), Some((0xFFFE, Bytes::from_static(b"frame"))));
        assert_eq!(original(&Bytes::from_static(&[1])), None);
    }
}
