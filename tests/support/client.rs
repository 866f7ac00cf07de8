//! A member's side of the media, as small as it can be: it checks, shakes hands, and then sends and receives packets over
//! UDP or TCP. For tests and benches of shards; browsers are driven elsewhere.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use weir::edge::peer::Certificate;
use weir::edge::peer::dtls::{Dtls, Event};
use weir::edge::peer::srtp::Srtp;
use weir::edge::peer::stun;
use weir::edge::plan::{DtlsPlan, Fingerprint, IcePlan, MediaPlan};

/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What datagrams travel on.
pub(crate) enum Wire {
    Udp(UdpSocket),
    /// Framed by RFC 4571; with what was read beyond the last frame.
    Tcp(TcpStream, Vec<u8>),
}

impl Wire {
    /// A UDP socket of its own toward `server`.
    pub(crate) async fn udp(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        socket.connect(server).await.expect("loopback");
        Self::Udp(socket)
    }

    pub(crate) async fn send(&mut self, datagram: &[u8]) {
        // What can't be sent is lost, as on a network.
        let _ = match self {
            Self::Udp(socket) => socket.send(datagram).await.map(|_| ()),
            Self::Tcp(stream, _) => {
                let length = (datagram.len() as u16).to_be_bytes();
                stream.write_all(&[&length, datagram].concat()).await
            }
        };
    }

    /// The next datagram. Nothing is lost when the future is dropped.
    pub(crate) async fn receive(&mut self) -> Vec<u8> {
        match self {
            Self::Udp(socket) => {
                let mut buffer = vec![0; 65_536];
                let length = socket.recv(&mut buffer).await.unwrap_or(0);
                buffer.truncate(length);
                buffer
            }
            Self::Tcp(stream, read) => loop {
                if let [high, low, rest @ ..] = &read[..] {
                    let length = usize::from(u16::from_be_bytes([*high, *low]));
                    if rest.len() >= length {
                        let frame = rest[..length].to_vec();
                        read.drain(..2 + length);
                        return frame;
                    }
                }
                assert_ne!(stream.read_buf(read).await.expect("the connection stays"), 0, "the connection ended");
            },
        }
    }
}

/// A connected client.
pub(crate) struct Client {
    pub(crate) wire: Wire,
    pub(crate) ice: IcePlan,
    pub(crate) srtp: Box<Srtp>,
}

impl Client {
    /// Connects as the plan, which is the server's, says.
    pub(crate) async fn connect(
        mut wire: Wire,
        plan: &MediaPlan,
        certificate: Arc<Certificate>,
        of_server: Fingerprint,
    ) -> Self {
        let mut dtls = Dtls::new(certificate, &DtlsPlan { we_are_client: true, fingerprints: vec![of_server] });
        let mut events = Vec::new();
        let (begun, mut started) = (Instant::now(), false);
        loop {
            assert!(begun.elapsed() < PATIENCE, "the handshake takes too long");
            if !started {
                wire.send(&check(&plan.ice)).await;
            }
            let read = tokio::time::timeout(Duration::from_millis(50), wire.receive()).await;
            let now = Instant::now();
            match read.as_deref() {
                Ok([0..=3, ..]) => {
                    started = true;
                    dtls.start(now, &mut events);
                }
                Ok(datagram @ [20..=63, ..]) => {
                    let _ = dtls.receive(now, datagram, &mut events);
                }
                _ => dtls.handle_timeout(now, &mut events),
            }
            while let Some(datagram) = dtls.poll_transmit() {
                wire.send(&datagram).await;
            }
            for event in events.drain(..) {
                match event {
                    Event::Connected(srtp) => return Self { wire, ice: plan.ice.clone(), srtp },
                    Event::Closed(why) => panic!("the handshake failed: {why:?}"),
                    Event::Data(_) => {}
                }
            }
        }
    }
}

/// A check that nominates.
pub(crate) fn check(ice: &IcePlan) -> Vec<u8> {
    let username = format!("{}:{}", ice.local.ufrag, ice.remote.ufrag);
    stun::check(rand::random(), &username, 7, &stun::Key::new(&ice.local.pwd))
}
