//! RFC 2198 redundancy, taken off for receivers that did not negotiate it. Pure; called by peers when they forward `red`
//! as `opus`.

/// The primary block of a RED payload: the newest frame, without the redundant ones before it. `None` if malformed.
pub fn primary(payload: &[u8]) -> Option<&[u8]> {
    let (mut rest, mut redundant) = (payload, 0);
    loop {
        let (&first, tail) = rest.split_first()?;
        // The primary block's header is one byte: F clear, then the payload type.
        if first & 0x80 == 0 {
            return tail.get(redundant..);
        }
        // Four bytes: F, payload type, 14 bits of timestamp offset, 10 bits of length.
        let (&[high, low], tail) = tail.get(1..)?.split_first_chunk()?;
        redundant += usize::from(u16::from_be_bytes([high, low]) & 0x03FF);
        rest = tail;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_primary_block_is_last() {
        assert_eq!(primary(&[111, 1, 2, 3]), Some(&[1, 2, 3][..]));
        // Two redundant blocks of two bytes and one byte.
        let red = [0x80 | 111, 0x0F, 0x00, 2, 0x80 | 111, 0x07, 0x80, 1, 111, 8, 8, 9, 1, 2];
        assert_eq!(primary(&red), Some(&[1, 2][..]));
        assert_eq!(primary(&red[..10]), None);
        assert_eq!(primary(&red[..7]), None);
        assert_eq!(primary(&[]), None);
    }

    proptest! {
        #[test]
        fn no_payload_makes_it_panic(payload in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(primary(&payload).is_none_or(|block| block.len() < payload.len()));
        }
    }
}
