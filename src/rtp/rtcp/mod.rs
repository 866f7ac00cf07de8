//! RTCP on the wire: [`parse`] walks a compound or reduced-size packet without allocating, `write` appends packets to a
//! buffer, `transport` is the transport-wide feedback's own format. Owns the formats; what reports mean is for `receive`,
//! `twcc` and the peers. Kinds that nobody here needs come out as [`Rtcp::Other`].

pub mod transport;
pub mod write;

use super::clock::NtpTime;
use crate::units::Bitrate;
pub use transport::TransportFeedback;

/// Packet types (RFC 3550 §12.1, RFC 4585 §6.1).
mod kind {
    pub(super) const SENDER_REPORT: u8 = 200;
    pub(super) const RECEIVER_REPORT: u8 = 201;
    pub(super) const DESCRIPTION: u8 = 202;
    pub(super) const GOODBYE: u8 = 203;
    pub(super) const TRANSPORT: u8 = 205;
    pub(super) const PAYLOAD: u8 = 206;
}

/// Formats of feedback: RFC 4585 §6.2 and §6.3, RFC 5104 §4.3, draft-holmer-rmcat-transport-wide-cc-extensions-01.
mod format {
    pub(super) const NACK: u8 = 1;
    pub(super) const TRANSPORT_CC: u8 = 15;
    pub(super) const PLI: u8 = 1;
    pub(super) const FIR: u8 = 4;
    pub(super) const APPLICATION: u8 = 15;
}

/// One RTCP packet of a compound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rtcp<'a> {
    SenderReport {
        ssrc: u32,
        info: SenderInfo,
        reports: Reports<'a>,
    },
    ReceiverReport {
        ssrc: u32,
        reports: Reports<'a>,
    },
    Goodbye {
        ssrcs: Ssrcs<'a>,
    },
    Nack {
        media: u32,
        lost: Lost<'a>,
    },
    Pli {
        media: u32,
    },
    Fir {
        requests: FullIntra<'a>,
    },
    TransportFeedback(TransportFeedback<'a>),
    /// The receiver's estimate (draft-alvestrand-rmcat-remb).
    Remb {
        rate: Bitrate,
        ssrcs: Ssrcs<'a>,
    },
    /// Well-formed and of no use here.
    Other,
}

/// What a sender says of one stream (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderInfo {
    pub ntp: NtpTime,
    /// The stream's timestamp at that time.
    pub timestamp: u32,
    pub packets: u32,
    /// Of payload.
    pub octets: u32,
}

/// What a receiver says of one stream (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    pub ssrc: u32,
    /// Lost since the report before, in units of 1/256.
    pub fraction_lost: u8,
    /// Lost since the start; 24 bits, signed.
    pub lost: i32,
    /// Extended highest sequence number.
    pub highest: u32,
    /// In timestamp units.
    pub jitter: u32,
    /// Middle of the last sender report's NTP time; zero if none came.
    pub last_report: u32,
    /// Since it came, in units of 1/65536 s.
    pub delay: u32,
}

impl ReportBlock {
    /// The round trip time, if the block answers a sender report of ours (RFC 3550 §6.4.1).
    pub fn round_trip(&self, now: NtpTime) -> Option<std::time::Duration> {
        let units = now.middle().wrapping_sub(self.last_report).wrapping_sub(self.delay);
        // Clocks that drift may make a tiny one negative, and nobody's round trip takes half the range.
        let answers = self.last_report != 0 && units < 1 << 31;
        answers.then(|| std::time::Duration::from_micros(u64::from(units) * 1_000_000 / 65_536))
    }
}

/// The report blocks of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reports<'a>(&'a [[u8; 24]]);

impl<'a> Reports<'a> {
    /// The blocks, one by one.
    pub fn iter(&self) -> impl Iterator<Item = ReportBlock> + 'a {
        self.0.iter().map(|&[s0, s1, s2, s3, fraction_lost, l0, l1, l2, rest @ ..]| {
            let [h0, h1, h2, h3, j0, j1, j2, j3, r0, r1, r2, r3, d0, d1, d2, d3] = rest;
            ReportBlock {
                ssrc: u32::from_be_bytes([s0, s1, s2, s3]),
                fraction_lost,
                lost: i32::from_be_bytes([l0, l1, l2, 0]) >> 8,
                highest: u32::from_be_bytes([h0, h1, h2, h3]),
                jitter: u32::from_be_bytes([j0, j1, j2, j3]),
                last_report: u32::from_be_bytes([r0, r1, r2, r3]),
                delay: u32::from_be_bytes([d0, d1, d2, d3]),
            }
        })
    }
}

/// A list of SSRCs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ssrcs<'a>(&'a [[u8; 4]]);

impl<'a> Ssrcs<'a> {
    /// The SSRCs, one by one.
    pub fn iter(&self) -> impl Iterator<Item = u32> + 'a {
        self.0.iter().map(|&bytes| u32::from_be_bytes(bytes))
    }
}

/// The packets a NACK asks for (RFC 4585 §6.2.1): a number each, and a mask of the sixteen after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost<'a>(&'a [[u8; 4]]);

impl<'a> Lost<'a> {
    /// Their sequence numbers, one by one.
    pub fn iter(&self) -> impl Iterator<Item = u16> + 'a {
        self.0.iter().flat_map(|&[p0, p1, m0, m1]| {
            let (first, mask) = (u16::from_be_bytes([p0, p1]), u16::from_be_bytes([m0, m1]));
            let following = (0..16).filter(move |bit| mask >> bit & 1 == 1).map(move |bit| first.wrapping_add(bit + 1));
            std::iter::once(first).chain(following)
        })
    }
}

/// The requests in a FIR: an SSRC and the request's own number, which repeats when the request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FullIntra<'a>(&'a [[u8; 8]]);

impl<'a> FullIntra<'a> {
    /// SSRC and request number, one by one.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u8)> + 'a {
        self.0.iter().map(|&[s0, s1, s2, s3, number, ..]| (u32::from_be_bytes([s0, s1, s2, s3]), number))
    }
}

/// Bytes that are no RTCP. What came before them in the compound stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed RTCP")]
pub struct Malformed;

/// The packets of a compound. Reduced size (RFC 5506) is allowed: any kind may come first, and alone.
pub const fn parse(compound: &[u8]) -> Compound<'_> {
    Compound { rest: compound }
}

/// How many bytes of a compound of ours are whole packets that fit `most`; the first of them, if it alone is larger.
pub fn fitting(compound: &[u8], most: usize) -> usize {
    let (mut rest, mut end) = (compound, 0);
    while let Some((_, after)) = split(rest) {
        let next = compound.len() - after.len();
        if end > 0 && next > most {
            break;
        }
        (rest, end) = (after, next);
    }
    end
}

/// Walks a compound; after an error it ends.
#[derive(Clone, Debug)]
pub struct Compound<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Compound<'a> {
    type Item = Result<Rtcp<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Some((first, rest)) = split(self.rest) else {
            self.rest = &[];
            return Some(Err(Malformed));
        };
        self.rest = rest;
        let packet = packet(first.kind, first.count, first.body).ok_or(Malformed);
        if packet.is_err() {
            self.rest = &[];
        }
        Some(packet)
    }
}

/// One packet's common header and what follows it, without padding.
struct Framed<'a> {
    kind: u8,
    /// Or format, for feedback.
    count: u8,
    body: &'a [u8],
}

fn split(bytes: &[u8]) -> Option<(Framed<'_>, &[u8])> {
    let (&[flags, kind, l0, l1], rest) = bytes.split_first_chunk()?;
    if flags >> 6 != 2 {
        return None;
    }
    let (mut body, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([l0, l1])) * 4)?;
    if flags & 0x20 != 0 {
        let padding = usize::from(*body.last()?);
        if padding == 0 {
            return None;
        }
        body = body.get(..body.len().checked_sub(padding)?)?;
    }
    Some((Framed { kind, count: flags & 0x1F, body }, rest))
}

fn packet(kind: u8, count: u8, body: &[u8]) -> Option<Rtcp<'_>> {
    Some(match (kind, count) {
        (kind::SENDER_REPORT, _) => {
            let (ssrc, body) = word(body)?;
            let (&[n0, n1, n2, n3, n4, n5, n6, n7, info @ ..], body) = body.split_first_chunk::<20>()?;
            let [t0, t1, t2, t3, p0, p1, p2, p3, o0, o1, o2, o3] = info;
            let info = SenderInfo {
                ntp: NtpTime(u64::from_be_bytes([n0, n1, n2, n3, n4, n5, n6, n7])),
                timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
                packets: u32::from_be_bytes([p0, p1, p2, p3]),
                octets: u32::from_be_bytes([o0, o1, o2, o3]),
            };
            Rtcp::SenderReport { ssrc, info, reports: reports(count, body)? }
        }
        (kind::RECEIVER_REPORT, _) => {
            let (ssrc, body) = word(body)?;
            Rtcp::ReceiverReport { ssrc, reports: reports(count, body)? }
        }
        (kind::GOODBYE, _) => Rtcp::Goodbye { ssrcs: Ssrcs(body.as_chunks().0.get(..usize::from(count))?) },
        (kind::TRANSPORT, format::NACK) => {
            let (media, body) = feedback(body)?;
            Rtcp::Nack { media, lost: Lost(body.as_chunks().0) }
        }
        (kind::TRANSPORT, format::TRANSPORT_CC) => {
            let (_, body) = feedback(body)?;
            Rtcp::TransportFeedback(TransportFeedback::parse(body)?)
        }
        (kind::PAYLOAD, format::PLI) => Rtcp::Pli { media: feedback(body)?.0 },
        (kind::PAYLOAD, format::FIR) => Rtcp::Fir { requests: FullIntra(feedback(body)?.1.as_chunks().0) },
        (kind::PAYLOAD, format::APPLICATION) => remb(feedback(body)?.1).unwrap_or(Rtcp::Other),
        _ => Rtcp::Other,
    })
}

fn word(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (&word, rest) = bytes.split_first_chunk()?;
    Some((u32::from_be_bytes(word), rest))
}

fn reports(count: u8, body: &[u8]) -> Option<Reports<'_>> {
    Some(Reports(body.as_chunks().0.get(..usize::from(count))?))
}

/// The media SSRC of a feedback packet and what follows it. The sender's SSRC says nothing to us.
fn feedback(body: &[u8]) -> Option<(u32, &[u8])> {
    word(word(body)?.1)
}

fn remb(body: &[u8]) -> Option<Rtcp<'_>> {
    let (&[b'R', b'E', b'M', b'B', count, m0, m1, m2], body) = body.split_first_chunk()? else { return None };
    let mantissa = u64::from(u32::from_be_bytes([0, m0 & 0x03, m1, m2]));
    // Six bits of exponent: what does not fit is as good as unlimited.
    let rate = mantissa.saturating_mul(1 << (m0 >> 2));
    Some(Rtcp::Remb { rate: Bitrate(rate), ssrcs: Ssrcs(body.as_chunks().0.get(..usize::from(count))?) })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_compound_is_walked_to_its_end() {
        let mut buf = Vec::new();
        let info = SenderInfo { ntp: NtpTime(1 << 40), timestamp: 2, packets: 3, octets: 4 };
        let block =
            ReportBlock { ssrc: 9, fraction_lost: 10, lost: -3, highest: 77_777, jitter: 12, last_report: 13, delay: 14 };
        write::sender_report(&mut buf, 1, &info, &[block, ReportBlock { lost: 0x7F_FFFF, ..block }]);
        write::source_description(&mut buf, 1, "weir");
        write::pli(&mut buf, 1, 5);
        write::fir(&mut buf, 1, 6, 7);
        write::goodbye(&mut buf, &[1, 2]);
        let packets: Vec<_> = parse(&buf).collect::<Result<_, _>>().unwrap();
        let [
            Rtcp::SenderReport { ssrc: 1, info: read, reports },
            Rtcp::Other,
            Rtcp::Pli { media: 5 },
            Rtcp::Fir { requests },
            Rtcp::Goodbye { ssrcs },
        ] = packets.as_slice()
        else {
            panic!("{packets:?}")
        };
        assert_eq!(*read, info);
        assert_eq!(reports.iter().map(|block| block.lost).collect::<Vec<_>>(), [-3, 0x7F_FFFF]);
        assert_eq!(reports.iter().next(), Some(block));
        assert_eq!(requests.iter().collect::<Vec<_>>(), [(6, 7)]);
        assert_eq!(ssrcs.iter().collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_compound_is_cut_between_packets() {
        let mut buf = Vec::new();
        for ssrc in 0..10 {
            write::sender_report(&mut buf, ssrc, &SenderInfo::default(), &[]);
        }
        assert_eq!([0, 27, 28, 55, 56, 1_000].map(|most| fitting(&buf, most)), [28, 28, 28, 28, 56, 280]);
        assert_eq!(fitting(&[], 100), 0);
    }

    #[test]
    fn what_came_before_garbage_stands() {
        let mut buf = Vec::new();
        write::pli(&mut buf, 1, 5);
        buf.extend_from_slice(&[0x80, 200, 0, 9, 1]);
        let packets: Vec<_> = parse(&buf).collect();
        assert_eq!(packets, [Ok(Rtcp::Pli { media: 5 }), Err(Malformed)]);
        // A report that claims more blocks than it has.
        assert_eq!(parse(&[0x82, 201, 0, 1, 0, 0, 0, 1]).next(), Some(Err(Malformed)));
    }

    #[test]
    fn padding_and_unknown_kinds_are_stepped_over() {
        let buf = [0xA0, 210, 0, 2, 1, 2, 3, 4, 0, 0, 0, 4, 0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 5];
        assert_eq!(parse(&buf).collect::<Vec<_>>(), [Ok(Rtcp::Other), Ok(Rtcp::Pli { media: 5 })]);
    }

    #[test]
    fn an_estimate_is_mantissa_and_exponent() {
        let mut remb = vec![0x8F, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0];
        remb.extend_from_slice(b"REMB");
        remb.extend_from_slice(&[1, 3 << 2 | 1, 0, 1, 0, 0, 0, 9]);
        let Some(Ok(Rtcp::Remb { rate, ssrcs })) = parse(&remb).next() else { panic!() };
        assert_eq!((rate, ssrcs.iter().next()), (Bitrate(65_537 << 3), Some(9)));
    }

    #[test]
    fn the_round_trip_is_what_is_left_of_the_reports_way() {
        let sent = NtpTime(100 << 32);
        let block = ReportBlock { last_report: sent.middle(), delay: 65_536 / 2, ..ReportBlock::default() };
        let now = sent.plus(Duration::from_millis(750));
        assert_eq!(block.round_trip(now), Some(Duration::from_millis(250)));
        assert_eq!(block.round_trip(sent), None);
        assert_eq!(ReportBlock::default().round_trip(now), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..120), kind in 198u8..208, count in 0u8..32) {
            let mut bytes = bytes;
            let words = (bytes.len() / 4).saturating_sub(1) as u8;
            if let Some(head) = bytes.first_chunk_mut() { *head = [0x80 | count, kind, 0, words]; }
            for packet in parse(&bytes).flatten() {
                match packet {
                    Rtcp::SenderReport { reports, .. } | Rtcp::ReceiverReport { reports, .. } => { reports.iter().count(); }
                    Rtcp::Nack { lost, .. } => { lost.iter().count(); }
                    Rtcp::TransportFeedback(feedback) => { feedback.packets().count(); }
                    _ => {}
                }
            }
        }

        #[test]
        fn any_loss_is_asked_for_exactly(start: u16, lost in prop::collection::btree_set(0u16..2_000, 1..80)) {
            let lost: Vec<u16> = lost.into_iter().map(|seq| seq.wrapping_add(start)).collect();
            let mut buf = Vec::new();
            write::nack(&mut buf, 1, 2, &lost);
            let Some(Ok(Rtcp::Nack { media: 2, lost: read })) = parse(&buf).next() else { panic!() };
            prop_assert_eq!(read.iter().collect::<Vec<_>>(), lost);
        }
    }
}
