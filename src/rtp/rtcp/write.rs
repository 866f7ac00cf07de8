//! RTCP packets appended to a buffer, whole and padded to words. Owns the framing; who reports what and when is for the
//! peers. Called a few times a second per stream, never per packet.

use super::{ReportBlock, SenderInfo, format, kind};

/// A report has five bits to count its blocks.
const MAX_BLOCKS: usize = 31;

/// Appends a sender report. Blocks beyond 31 are left out: put them into a receiver report of their own.
pub fn sender_report(buf: &mut Vec<u8>, ssrc: u32, info: &SenderInfo, blocks: &[ReportBlock]) {
    framed(buf, kind::SENDER_REPORT, blocks.len().min(MAX_BLOCKS) as u8, |buf| {
        buf.extend_from_slice(&ssrc.to_be_bytes());
        buf.extend_from_slice(&info.ntp.0.to_be_bytes());
        for word in [info.timestamp, info.packets, info.octets] {
            buf.extend_from_slice(&word.to_be_bytes());
        }
        report_blocks(buf, blocks);
    });
}

/// Appends a receiver report. Blocks beyond 31 are left out.
pub fn receiver_report(buf: &mut Vec<u8>, ssrc: u32, blocks: &[ReportBlock]) {
    framed(buf, kind::RECEIVER_REPORT, blocks.len().min(MAX_BLOCKS) as u8, |buf| {
        buf.extend_from_slice(&ssrc.to_be_bytes());
        report_blocks(buf, blocks);
    });
}

/// Appends an SDES packet with the canonical name, of which 255 bytes are kept.
pub fn source_description(buf: &mut Vec<u8>, ssrc: u32, cname: &str) {
    let name = cname.as_bytes();
    let name = name.get(..name.len().min(255)).unwrap_or_default();
    framed(buf, kind::DESCRIPTION, 1, |buf| {
        buf.extend_from_slice(&ssrc.to_be_bytes());
        buf.extend_from_slice(&[1, name.len() as u8]);
        buf.extend_from_slice(name);
        // RFC 3550 §6.5: at least one zero ends the list; `framed` fills the word.
        buf.push(0);
    });
}

/// Appends a BYE. SSRCs beyond 31 are left out.
pub fn goodbye(buf: &mut Vec<u8>, ssrcs: &[u32]) {
    framed(buf, kind::GOODBYE, ssrcs.len().min(MAX_BLOCKS) as u8, |buf| {
        ssrcs.iter().take(MAX_BLOCKS).for_each(|ssrc| buf.extend_from_slice(&ssrc.to_be_bytes()));
    });
}

/// Appends a NACK for packets of `media`; `lost` is in order and not empty.
pub fn nack(buf: &mut Vec<u8>, sender: u32, media: u32, lost: &[u16]) {
    feedback(buf, kind::TRANSPORT, format::NACK, sender, media, |buf| {
        let mut lost = lost.iter().copied().peekable();
        while let Some(first) = lost.next() {
            let mut mask = 0u16;
            while let Some(behind) = lost.next_if(|seq| (1..=16).contains(&seq.wrapping_sub(first))) {
                mask |= 1 << (behind.wrapping_sub(first) - 1);
            }
            buf.extend_from_slice(&first.to_be_bytes());
            buf.extend_from_slice(&mask.to_be_bytes());
        }
    });
}

/// Appends a picture loss indication: asks for a keyframe of `media`.
pub fn pli(buf: &mut Vec<u8>, sender: u32, media: u32) {
    feedback(buf, kind::PAYLOAD, format::PLI, sender, media, |_| ());
}

/// Appends a full intra request. A new request needs a new `number` (RFC 5104 §4.3.1.1).
pub fn fir(buf: &mut Vec<u8>, sender: u32, media: u32, number: u8) {
    // RFC 5104 §4.3.1.2: the media SSRC of the header is not used.
    feedback(buf, kind::PAYLOAD, format::FIR, sender, 0, |buf| {
        buf.extend_from_slice(&media.to_be_bytes());
        buf.extend_from_slice(&[number, 0, 0, 0]);
    });
}

/// Appends a feedback packet with the body that `body` writes.
pub(super) fn feedback(buf: &mut Vec<u8>, kind: u8, format: u8, sender: u32, media: u32, body: impl FnOnce(&mut Vec<u8>)) {
    framed(buf, kind, format, |buf| {
        buf.extend_from_slice(&sender.to_be_bytes());
        buf.extend_from_slice(&media.to_be_bytes());
        body(buf);
    });
}

fn framed(buf: &mut Vec<u8>, kind: u8, count: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let start = buf.len();
    buf.extend_from_slice(&[0x80 | count & 0x1F, kind, 0, 0]);
    body(buf);
    let words = (buf.len() - start).div_ceil(4);
    buf.resize(start + words * 4, 0);
    if let Some(length) = buf.get_mut(start + 2..start + 4) {
        length.copy_from_slice(&(words as u16 - 1).to_be_bytes());
    }
}

fn report_blocks(buf: &mut Vec<u8>, blocks: &[ReportBlock]) {
    for block in blocks.iter().take(MAX_BLOCKS) {
        buf.extend_from_slice(&block.ssrc.to_be_bytes());
        let [_, l0, l1, l2] = block.lost.clamp(-0x80_0000, 0x7F_FFFF).to_be_bytes();
        buf.extend_from_slice(&[block.fraction_lost, l0, l1, l2]);
        for word in [block.highest, block.jitter, block.last_report, block.delay] {
            buf.extend_from_slice(&word.to_be_bytes());
        }
    }
}
