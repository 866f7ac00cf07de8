//! DTLS 1.2 records and handshake fragments (RFC 6347 §4.1, §4.2.2), viewed without copying. Owns the framing only: what
//! `client_hello` looks into and `dtls_guard` judges by before any byte reaches the DTLS library.

/// Bytes before a record's body.
const RECORD_HEADER: usize = 13;
/// Bytes before a fragment's body.
const FRAGMENT_HEADER: usize = 12;

/// The kinds of record that DTLS 1.2 has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    ChangeCipherSpec,
    Alert,
    Handshake,
    ApplicationData,
}

/// One record of a datagram.
#[derive(Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub content: Content,
    /// 0 is plaintext.
    pub epoch: u16,
    pub body: &'a [u8],
}

/// One fragment of a handshake message, in a plaintext record.
#[derive(Debug, PartialEq, Eq)]
pub struct Fragment<'a> {
    pub kind: u8,
    /// Of the whole message.
    pub length: usize,
    pub sequence: u16,
    pub offset: usize,
    pub body: &'a [u8],
}

/// A datagram or a record that is not framed as DTLS 1.2.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

/// The records of a datagram, in order; ends after the first malformed one.
pub fn records(datagram: &[u8]) -> impl Iterator<Item = Result<Record<'_>, Malformed>> {
    walk(datagram, split_record)
}

/// The fragments in the body of a plaintext handshake record, likewise.
pub fn fragments(body: &[u8]) -> impl Iterator<Item = Result<Fragment<'_>, Malformed>> {
    walk(body, split_fragment)
}

/// Splits items off until nothing is left or one is malformed.
fn walk<'a, T: 'a>(
    bytes: &'a [u8],
    split: impl Fn(&'a [u8]) -> Option<(T, &'a [u8])>,
) -> impl Iterator<Item = Result<T, Malformed>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let split = split(rest);
        rest = split.as_ref().map_or(&[][..], |(_, rest)| *rest);
        Some(split.map(|(item, _)| item).ok_or(Malformed))
    })
}

fn split_record(bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<RECORD_HEADER>()?;
    let content = match header[0] {
        20 => Content::ChangeCipherSpec,
        21 => Content::Alert,
        22 => Content::Handshake,
        23 => Content::ApplicationData,
        _ => return None,
    };
    // The first ClientHello may say DTLS 1.0 (RFC 6347 §4.2.1).
    if !matches!((header[1], header[2]), (0xfe, 0xff | 0xfd)) {
        return None;
    }
    let epoch = u16::from_be_bytes([header[3], header[4]]);
    let length = usize::from(u16::from_be_bytes([header[11], header[12]]));
    let (body, rest) = rest.split_at_checked(length).filter(|(body, _)| !body.is_empty())?;
    Some((Record { content, epoch, body }, rest))
}

fn split_fragment(bytes: &[u8]) -> Option<(Fragment<'_>, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<FRAGMENT_HEADER>()?;
    let length = u24(header[1], header[2], header[3]);
    let sequence = u16::from_be_bytes([header[4], header[5]]);
    let offset = u24(header[6], header[7], header[8]);
    let (body, rest) = rest.split_at_checked(u24(header[9], header[10], header[11]))?;
    let sound = offset + body.len() <= length && (!body.is_empty() || length == 0);
    sound.then_some((Fragment { kind: header[0], length, sequence, offset, body }, rest))
}

fn u24(high: u8, middle: u8, low: u8) -> usize {
    usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_walked_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let walked = records(&bytes).chain(records(bytes.get(1..).unwrap_or_default())).flatten();
            let bodies: usize = walked.flat_map(|record| fragments(record.body)).flatten().map(|f| f.body.len()).sum();
            prop_assert!(bodies <= 2 * bytes.len());
        }
    }

    #[test]
    fn a_record_longer_than_its_datagram_is_malformed() {
        let mut datagram = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 7];
        assert_eq!(records(&datagram).collect::<Vec<_>>(), [Ok(Record { content: Content::Handshake, epoch: 0, body: &[7] })]);
        datagram.pop();
        assert_eq!(records(&datagram).collect::<Vec<_>>(), [Err(Malformed)]);
    }
}
