//! A client as small as it can be: it checks, shakes hands, and then only counts what comes, reports it, or publishes. Its
//! cost is not what is measured.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ring::hmac;
use tokio::net::UdpSocket;
use weir::edge::peer::Certificate;
use weir::edge::peer::dtls::{Dtls, Event};
use weir::edge::peer::srtp::Srtp;
use weir::edge::plan::{DtlsPlan, ExtensionIds, Fingerprint, IcePlan, MediaPlan};
use weir::rtp::header::{self, Header, Outgoing};
use weir::rtp::rtcp::{ReportBlock, write};
use weir::rtp::twcc::Arrivals;
use weir::rtp::{Extensions, HopOut};

const CHECK_EVERY: Duration = Duration::from_secs(2);
const FEEDBACK_EVERY: Duration = Duration::from_millis(100);
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Of an RTP packet, before it is sealed.
pub const PACKET: usize = 1_200;

/// A connected client.
pub struct Client {
    socket: UdpSocket,
    ice: IcePlan,
    srtp: Box<Srtp>,
}

/// Connects as the plan, which is the server's, says.
pub async fn connect(server: SocketAddr, plan: &MediaPlan, certificate: Arc<Certificate>, of_server: Fingerprint) -> Client {
    let socket = UdpSocket::from_std(crate::client_socket(server)).expect("a runtime");
    let mut dtls = Dtls::new(certificate, &DtlsPlan { we_are_client: true, fingerprints: vec![of_server] });
    let (mut events, mut buffer) = (Vec::new(), vec![0; 2_048]);
    let mut started = false;
    loop {
        if !started {
            let _ = socket.send(&check(&plan.ice)).await;
        }
        let read = tokio::time::timeout(Duration::from_millis(50), socket.recv(&mut buffer)).await;
        let now = Instant::now();
        match read {
            Ok(Ok(length)) if buffer[0] < 4 => {
                let _ = length;
                started = true;
                dtls.start(now, &mut events);
            }
            Ok(Ok(length)) if (20..64).contains(&buffer[0]) => {
                let _ = dtls.receive(now, &buffer[..length], &mut events);
            }
            _ => dtls.handle_timeout(now, &mut events),
        }
        while let Some(datagram) = dtls.poll_transmit() {
            let _ = socket.send(&datagram).await;
        }
        for event in events.drain(..) {
            match event {
                Event::Connected(srtp) => return Client { socket, ice: plan.ice.clone(), srtp },
                Event::Closed(why) => panic!("the handshake failed: {why:?}"),
                Event::Data(_) => {}
            }
        }
    }
}

impl Client {
    /// Counts what comes and reports it, as a browser would.
    pub async fn subscribe(mut self, ids: ExtensionIds, received: Arc<AtomicU64>) {
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
                received.fetch_add(1, Ordering::Relaxed);
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
    pub async fn publish(mut self, burst: u32, ids: ExtensionIds, ssrc: u32) {
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
pub fn packet(seq: u32, ssrc: u32, timestamp: u32, marker: bool, keyframe: bool, ids: &ExtensionIds) -> Vec<u8> {
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

/// A binding request that nominates (RFC 8445 §7.2).
fn check(ice: &IcePlan) -> Vec<u8> {
    let mut message = vec![0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42];
    message.extend_from_slice(&rand::random::<[u8; 12]>());
    let username = format!("{}:{}", ice.local.ufrag, ice.remote.ufrag);
    let mut attribute = |kind: u16, value: &[u8]| {
        message.extend_from_slice(&kind.to_be_bytes());
        message.extend_from_slice(&(value.len() as u16).to_be_bytes());
        message.extend_from_slice(value);
        message.resize(message.len().next_multiple_of(4), 0);
    };
    attribute(0x0006, username.as_bytes());
    attribute(0x0024, &1u32.to_be_bytes());
    attribute(0x802A, &7u64.to_be_bytes());
    attribute(0x0025, &[]);
    let length = (message.len() - 20 + 24) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, ice.local.pwd.as_bytes());
    let tag = hmac::sign(&key, &message);
    message.extend_from_slice(&[0x00, 0x08, 0, 20]);
    message.extend_from_slice(tag.as_ref());
    message
}
