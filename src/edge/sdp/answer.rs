//! Writes an answer. The shape of each m-line is a type, so that what a refused or a data m-line can't say can't be written.
//! Decides nothing: `edge::negotiate` fills it in.

use std::fmt::{self, Display};
use std::net::SocketAddr;

use super::Direction;
use crate::edge::plan::{Fingerprint, IceCredentials};

/// An answer of an ICE-lite server.
#[derive(Debug, Clone)]
pub struct Answer<'a> {
    /// `o=`: identifies the session, and grows with each answer.
    pub session_id: u64,
    pub version: u64,
    pub ice: &'a IceCredentials,
    pub fingerprint: &'a Fingerprint,
    /// We open the DTLS handshake.
    pub active: bool,
    /// Written into the first accepted m-line, whose transport all others share.
    pub candidates: Vec<Candidate>,
    pub allow_mixed: bool,
    /// The offer had a BUNDLE group; without one the answer must not have it (RFC 8843 §7.3).
    pub bundle: bool,
    pub media: Vec<Media>,
}

/// A host candidate with its priority.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    pub addr: SocketAddr,
    pub tcp: bool,
    pub priority: u32,
}

/// One m-line, in the place it had in the offer.
#[derive(Debug, Clone)]
pub struct Media {
    pub media: String,
    pub protocol: String,
    pub mid: Option<String>,
    pub body: MediaBody,
}

/// What becomes of an m-line.
#[derive(Debug, Clone)]
pub enum MediaBody {
    /// Port 0. The formats are the offer's: the grammar wants at least one.
    Refused {
        formats: String,
    },
    Rtp(RtpBody),
    Data {
        sctp_port: u16,
        max_message_size: u32,
    },
}

/// Audio or video.
#[derive(Debug, Clone)]
pub struct RtpBody {
    pub direction: Direction,
    pub payload_types: Vec<u8>,
    pub rtcp_rsize: bool,
    /// The other attributes, without `a=`, in order.
    pub attributes: Vec<String>,
}

impl Display for Answer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Lines(f);
        out.line(format_args!("v=0"))?;
        out.line(format_args!("o=- {} {} IN IP4 127.0.0.1", self.session_id, self.version))?;
        out.line(format_args!("s=-"))?;
        out.line(format_args!("t=0 0"))?;
        out.line(format_args!("a=ice-lite"))?;
        let accepted = || self.media.iter().filter(|media| !matches!(media.body, MediaBody::Refused { .. }));
        if self.bundle {
            let mids: Vec<&str> = accepted().filter_map(|media| media.mid.as_deref()).collect();
            out.line(format_args!("a=group:BUNDLE {}", mids.join(" ")))?;
        }
        out.line(format_args!("a=msid-semantic: WMS *"))?;
        if self.allow_mixed {
            out.line(format_args!("a=extmap-allow-mixed"))?;
        }
        let mut first = true;
        for media in &self.media {
            self.media_section(&mut out, media, first)?;
            first &= matches!(media.body, MediaBody::Refused { .. });
        }
        Ok(())
    }
}

impl Answer<'_> {
    fn media_section(&self, out: &mut Lines<'_, '_>, media: &Media, first: bool) -> fmt::Result {
        let (kind, protocol) = (&media.media, &media.protocol);
        match &media.body {
            MediaBody::Refused { formats } => out.line(format_args!("m={kind} 0 {protocol} {formats}"))?,
            MediaBody::Rtp(rtp) => {
                let formats: Vec<String> = rtp.payload_types.iter().map(u8::to_string).collect();
                out.line(format_args!("m={kind} 9 {protocol} {}", formats.join(" ")))?;
            }
            MediaBody::Data { .. } => out.line(format_args!("m={kind} 9 {protocol} webrtc-datachannel"))?,
        }
        // Port 9 of the unspecified address: look at the candidates (RFC 8839 §4.2.1.2).
        out.line(format_args!("c=IN IP4 0.0.0.0"))?;
        if let Some(mid) = &media.mid {
            out.line(format_args!("a=mid:{mid}"))?;
        }
        match &media.body {
            MediaBody::Refused { .. } => return out.line(format_args!("a=inactive")),
            MediaBody::Rtp(rtp) => {
                self.transport(out, first)?;
                out.line(format_args!("a={}", rtp.direction.name()))?;
                out.line(format_args!("a=rtcp-mux"))?;
                if rtp.rtcp_rsize {
                    out.line(format_args!("a=rtcp-rsize"))?;
                }
                for attribute in &rtp.attributes {
                    out.line(format_args!("a={attribute}"))?;
                }
            }
            MediaBody::Data { sctp_port, max_message_size } => {
                self.transport(out, first)?;
                out.line(format_args!("a=sctp-port:{sctp_port}"))?;
                out.line(format_args!("a=max-message-size:{max_message_size}"))?;
            }
        }
        Ok(())
    }

    /// Every accepted m-line says it: clients without BUNDLE support look nowhere else.
    fn transport(&self, out: &mut Lines<'_, '_>, first: bool) -> fmt::Result {
        out.line(format_args!("a=ice-ufrag:{}", self.ice.ufrag))?;
        out.line(format_args!("a=ice-pwd:{}", self.ice.pwd))?;
        let hash: Vec<String> = self.fingerprint.hash.iter().map(|byte| format!("{byte:02X}")).collect();
        out.line(format_args!("a=fingerprint:{} {}", self.fingerprint.algorithm, hash.join(":")))?;
        out.line(format_args!("a=setup:{}", if self.active { "active" } else { "passive" }))?;
        if !first {
            return Ok(());
        }
        for (index, candidate) in self.candidates.iter().enumerate() {
            let (protocol, kind) = if candidate.tcp { ("tcp", " tcptype passive") } else { ("udp", "") };
            let (ip, port, priority) = (candidate.addr.ip(), candidate.addr.port(), candidate.priority);
            out.line(format_args!("a=candidate:{} 1 {protocol} {priority} {ip} {port} typ host{kind}", index + 1))?;
        }
        out.line(format_args!("a=end-of-candidates"))
    }
}

/// Ends every line the way SDP wants it.
struct Lines<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Lines<'_, '_> {
    fn line(&mut self, content: fmt::Arguments<'_>) -> fmt::Result {
        self.0.write_fmt(content)?;
        self.0.write_str("\r\n")
    }
}
