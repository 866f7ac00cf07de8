//! QUIC's variable-length integers (RFC 9000 §16), which the RTP mapping uses for flow ids and lengths.

/// The highest number that has a form.
pub const MAX: u64 = (1 << 62) - 1;

/// Appends `value` in its shortest form; higher ones than [`MAX`] are cut to it.
pub fn write(out: &mut Vec<u8>, value: u64) {
    let value = value.min(MAX);
    match value {
        0..0x40 => out.push(value as u8),
        0x40..0x4000 => out.extend_from_slice(&(value as u16 | 0x4000).to_be_bytes()),
        0x4000..0x4000_0000 => out.extend_from_slice(&(value as u32 | 0x8000_0000).to_be_bytes()),
        _ => out.extend_from_slice(&(value | 0xC000_0000_0000_0000).to_be_bytes()),
    }
}

/// The number at the front, in whichever form, and how many bytes it took; `None` if it is not whole.
pub fn read(bytes: &[u8]) -> Option<(u64, usize)> {
    let &first = bytes.first()?;
    let length = 1 << (first >> 6);
    let (head, rest) = (u64::from(first & 0x3F), bytes.get(1..length)?);
    Some((rest.iter().fold(head, |value, &byte| value << 8 | u64::from(byte)), length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        // RFC 9000, appendix A.1.
        let long = [0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c];
        assert_eq!(read(&long), Some((151_288_809_941_952_652, 8)));
        assert_eq!(read(&[0x9d, 0x7f, 0x3e, 0x7d]), Some((494_878_333, 4)));
        assert_eq!(read(&[0x7b, 0xbd]), Some((15_293, 2)));
        assert_eq!(read(&[0x25]), Some((37, 1)));
        assert_eq!(read(&[0x40, 0x25]), Some((37, 2)));
        assert_eq!(read(&[0x40]), None);
        assert_eq!(read(&[]), None);
    }

    proptest! {
        #[test]
        fn every_number_survives(value in 0..=MAX, shift in 0u32..62, rest: [u8; 3]) {
            let value = value >> shift;
            let mut out = Vec::new();
            write(&mut out, value);
            let length = out.len();
            out.extend_from_slice(&rest);
            prop_assert_eq!(read(&out), Some((value, length)));
        }
    }
}
