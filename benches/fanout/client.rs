//! The publisher: what it costs is not what is measured. Subscribers are those of `weir load`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir::edge::peer::Certificate;
use weir::edge::plan::{ExtensionIds, Fingerprint, MediaPlan};
use weir::load::offer::{Settled, Slot};
use weir::load::transport;
use weir::rtp::header::{self, Outgoing};
use weir::rtp::{Extensions, HopOut};

use crate::support::{Client, Wire, check};

const CHECK_EVERY: Duration = Duration::from_secs(2);
/// Of an RTP packet, before it is sealed.
pub(crate) const PACKET: usize = 1_200;

/// What an answer would have told a client of the shard's plan for it.
pub(crate) fn settled(server: SocketAddr, plan: &MediaPlan, of_server: Fingerprint) -> Settled {
    let slot = |send: &weir::edge::plan::SendPlan| Slot {
        mid: send.mid.clone(),
        kind: send.kind,
        ssrc: Some(send.ssrc),
        rtx: send.rtx_ssrc,
    };
    Settled {
        transport: transport::Settings {
            candidates: vec![server],
            local: plan.ice.remote.clone(),
            remote: plan.ice.local.clone(),
            dtls: weir::edge::plan::DtlsPlan { we_are_client: true, fingerprints: vec![of_server] },
        },
        extensions: plan.extensions,
        rtx: true,
        slots: plan.send.iter().map(slot).collect(),
        sends: Vec::new(),
    }
}

/// Connects, and then sends 500 packets a second, `burst` at a time, a keyframe a second, until it is aborted.
pub(crate) async fn publisher(
    server: SocketAddr,
    plan: &MediaPlan,
    certificate: Arc<Certificate>,
    of_server: Fingerprint,
    burst: u32,
    ssrc: u32,
) -> tokio::task::JoinHandle<()> {
    let client = Client::connect(Wire::udp(server).await, plan, certificate, of_server).await;
    let Wire::Udp(socket) = client.wire else { unreachable!("connected over UDP") };
    let (ice, mut srtp, ids) = (client.ice, client.srtp, plan.extensions);
    tokio::spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(2) * burst);
        let mut seq = 0u32;
        let mut check_at = Instant::now();
        loop {
            pace.tick().await;
            let first = seq;
            for _ in 0..burst {
                let starts_keyframe = seq / 500 != first.wrapping_sub(1) / 500 && seq == first || first == 0 && seq == 0;
                let mut sealed = packet(seq, ssrc, first * 180, seq + 1 == first + burst, starts_keyframe, &ids);
                if srtp.seal_rtp(&mut sealed, 0).is_ok() {
                    let _ = socket.send(&sealed).await;
                }
                seq += 1;
            }
            let mut buffer = [0; 2_048];
            while socket.try_recv(&mut buffer).is_ok() {}
            if Instant::now() >= check_at {
                check_at = Instant::now() + CHECK_EVERY;
                let _ = socket.send(&check(&ice)).await;
            }
        }
    })
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
