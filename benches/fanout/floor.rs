//! The least that forwarding can cost: copy, seal, send in runs. The same packets to as many addresses at the same pace.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quinn_udp::{Transmit, UdpSocketState};
use weir::edge::peer::srtp::{Profile, Srtp};
use weir::rtp::ExtensionIds;

use crate::{Row, client, meter};

/// Measures for as long as the forwarding was measured.
pub(crate) fn run(subscribers: u32, seconds: u64, burst: u32) -> Row {
    let sender = std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let server = sender.local_addr().expect("bound");
    let sockets: Vec<std::net::UdpSocket> = (0..subscribers).map(|_| crate::client_socket(server)).collect();
    let addresses: Vec<_> = sockets.iter().map(|socket| socket.local_addr().expect("bound")).collect();
    let (stop, received, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));

    let reader = {
        let (stop, received) = (Arc::clone(&stop), Arc::clone(&received));
        std::thread::spawn(move || {
            let mut buffer = [0; 2_048];
            while !stop.load(Ordering::Relaxed) {
                for socket in &sockets {
                    while socket.recv(&mut buffer).is_ok() {
                        received.fetch_add(1, Ordering::Relaxed);
                    }
                }
                std::thread::park_timeout(Duration::from_millis(1));
            }
        })
    };
    let writer = {
        let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
        let work = move || {
            let state = UdpSocketState::new((&sender).into()).expect("a socket");
            let ids = ExtensionIds { mid: Some(1), transport_cc: Some(3), ..ExtensionIds::default() };
            let key = [7; 64];
            let length = Profile::Aes128Gcm.keying_material_len();
            let mut srtp: Vec<Srtp> =
                addresses.iter().map(|_| Srtp::new(Profile::Aes128Gcm, &key[..length], false).expect("a key")).collect();
            let mut buffer = Vec::with_capacity(16_384);
            let (mut seq, mut next) = (0u32, Instant::now());
            while !stop.load(Ordering::Relaxed) {
                let packets: Vec<Vec<u8>> =
                    (0..burst).map(|index| client::packet(seq + index, 1, seq, index + 1 == burst, false, &ids)).collect();
                seq += burst;
                for (address, srtp) in addresses.iter().zip(&mut srtp) {
                    buffer.clear();
                    let mut segment = 0;
                    for packet in &packets {
                        let start = buffer.len();
                        buffer.extend_from_slice(packet);
                        srtp.seal_rtp(&mut buffer, start).expect("a key");
                        segment = buffer.len() - start;
                    }
                    let segment_size = (buffer.len() > segment).then_some(segment);
                    let transmit = Transmit { destination: *address, ecn: None, contents: &buffer, segment_size, src_ip: None };
                    let _ = state.try_send((&sender).into(), &transmit);
                }
                sent.fetch_add(u64::from(burst) * addresses.len() as u64, Ordering::Relaxed);
                next += Duration::from_millis(2) * burst;
                std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
            }
        };
        std::thread::Builder::new().name("floor".into()).spawn(work).expect("a thread")
    };
    std::thread::park_timeout(Duration::from_secs(1));
    let (before, received_before) = (sent.load(Ordering::Relaxed), received.load(Ordering::Relaxed));
    let meter = meter::Meter::start("floor", seconds);
    std::thread::park_timeout(Duration::from_secs(seconds));
    let cost = meter.stop();
    let (after, received_after) = (sent.load(Ordering::Relaxed), received.load(Ordering::Relaxed));
    stop.store(true, Ordering::Relaxed);
    writer.join().expect("the writer");
    reader.join().expect("the reader");
    Row { what: "floor".into(), burst, forwarded: after - before, received: received_after - received_before, cost }
}
