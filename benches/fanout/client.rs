//! Clients that only count what comes and report it, or publish. Their cost is not what is measured.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use weir::edge::peer::Certificate;
use weir::edge::peer::srtp::Srtp;
use weir::edge::plan::{ExtensionIds, Fingerprint, IcePlan, MediaPlan};
use weir::rtp::header::{self, Header, Outgoing};
use weir::rtp::rtcp::{ReportBlock, write};
use weir::rtp::twcc::Arrivals;
use weir::rtp::{Extensions, HopOut};

use crate::support::{Client, Wire, check};

const CHECK_EVERY: Duration = Duration::from_secs(2);
const FEEDBACK_EVERY: Duration = Duration::from_millis(100);
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Of an RTP packet, before it is sealed.
pub(crate) const PACKET: usize = 1_200;

/// A connected client that only counts or sends.
pub(crate) struct Load {
    socket: UdpSocket,
    ice: IcePlan,
    srtp: Box<Srtp>,
}

impl Load {
    pub(crate) async fn connect(
        server: SocketAddr,
        plan: &MediaPlan,
        certificate: Arc<Certificate>,
        of_server: Fingerprint,
    ) -> Self {
        let client = Client::connect(Wire::udp(server).await, plan, certificate, of_server).await;
        let Wire::Udp(socket) = client.wire else { unreachable!("connected over UDP") };
        Self { socket, ice: client.ice, srtp: client.srtp }
    }

    /// Counts what comes and reports it, as a browser would.
    pub(crate) async fn subscribe(mut self, ids: ExtensionIds, received: Arc<AtomicU64>) {
        let (mut buffer, mut rtcp) = (vec![0; 2_048], Vec::new());
        let mut arrivals = Arrivals::default();
        let mut highest = (0, 0);
        let (mut check_at, mut feedback_at, mut report_at) = (Instant::now(), Instant::now(), Instant::now());
        loop {
            let next = feedback_at.min(check_at);
            let read = tokio::time::timeout_at(next.into(), self.socket.recv(&mut buffer)).await;
            let now = Instant::now();
            if let Ok(Ok(length)) = read
                && (128..192).contains(&buffer[0])
                && !(192..224).contains(&buffer[1])
            {
                // Probes come as RTX.
                received.fetch_add(u64::from(buffer[1] & 0x7F == 96), Ordering::Relaxed);
                // The last byte is sealed: it can't tell how much of a probe is padding.
                buffer[0] &= !0x20;
                let packet = bytes::Bytes::copy_from_slice(&buffer[..length.min(64)]);
                if let Ok(header) = Header::parse(&packet) {
                    highest = (header.ssrc, u32::from(header.seq));
                    if let Some(seq) = header.extensions(&packet, &ids).1.transport_cc {
                        arrivals.record(seq, now);
                    }
                }
            }
            if now >= check_at {
                check_at = now + CHECK_EVERY;
                let _ = self.socket.send(&check(&self.ice)).await;
            }
            if now >= feedback_at {
                feedback_at = now + FEEDBACK_EVERY;
                rtcp.clear();
                arrivals.feedback(now, 1, highest.0, &mut rtcp);
                if now >= report_at && highest.0 != 0 {
                    report_at = now + REPORT_EVERY;
                    let block = ReportBlock { ssrc: highest.0, highest: highest.1, ..ReportBlock::default() };
                    write::receiver_report(&mut rtcp, 1, &[block]);
                }
                if !rtcp.is_empty() && self.srtp.seal_rtcp(&mut rtcp, 0).is_ok() {
                    let _ = self.socket.send(&rtcp).await;
                }
            }
        }
    }

    /// Sends 500 packets a second, `burst` at a time, a keyframe a second.
    pub(crate) async fn publish(mut self, burst: u32, ids: ExtensionIds, ssrc: u32) {
        let mut pace = tokio::time::interval(Duration::from_millis(2) * burst);
        let mut seq = 0u32;
        let mut check_at = Instant::now();
        loop {
            pace.tick().await;
            let first = seq;
            for _ in 0..burst {
                let starts_keyframe = seq / 500 != first.wrapping_sub(1) / 500 && seq == first || first == 0 && seq == 0;
                let packet = packet(seq, ssrc, first * 180, seq + 1 == first + burst, starts_keyframe, &ids);
                let mut sealed = packet;
                if self.srtp.seal_rtp(&mut sealed, 0).is_ok() {
                    let _ = self.socket.send(&sealed).await;
                }
                seq += 1;
            }
            let mut buffer = [0; 2_048];
            while self.socket.try_recv(&mut buffer).is_ok() {}
            if Instant::now() >= check_at {
                check_at = Instant::now() + CHECK_EVERY;
                let _ = self.socket.send(&check(&self.ice)).await;
            }
        }
    }
}

/// A VP8 packet of the usual size.
pub(crate) fn packet(seq: u32, ssrc: u32, timestamp: u32, marker: bool, keyframe: bool, ids: &ExtensionIds) -> Vec<u8> {
    let mut packet = Vec::with_capacity(PACKET + 32);
    let out = Outgoing { pt: 96, seq: seq as u16, timestamp, ssrc, marker };
    let hop = HopOut { mid: Some(b"0"), transport_cc: Some(seq as u16), ..HopOut::default() };
    header::write(&mut packet, &out, ids, &Extensions::default(), &hop);
    // X and S, then I, then a 15-bit picture id; the payload's first bit says delta frame (RFC 7741 §4).
    let picture = (timestamp / 180) as u16 | 0x8000;
    let [high, low] = picture.to_be_bytes();
    packet.extend_from_slice(&[0x90, 0x80, high, low, u8::from(!keyframe), 0, 0, 0x9D, 0x01, 0x2A]);
    packet.resize(PACKET, 0x55);
    packet
}
