//! A browser's side of a transport, small and in memory: STUN by `rtc-stun`, DTLS by `rtc-dtls`, data channels by `rtc-sctp`.
//! Sends what it is told to; answers what the protocols make it answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use ring::digest;
use rtc_datachannel::data_channel::DataChannel;
use rtc_datachannel::message::Message as Dcep;
use rtc_datachannel::message::message_channel_open::{ChannelType, DataChannelOpen};
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::crypto_provider::default_provider;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_sctp::{
    Association, AssociationHandle, ClientConfig, DatagramEvent, EndpointConfig, Event, Payload, PayloadProtocolIdentifier,
    StreamEvent,
};
use rtc_shared::TransportProtocol;
use rtc_shared::marshal::Marshal;
use rtc_stun::attributes::{ATTR_PRIORITY, ATTR_USE_CANDIDATE, ATTR_USERNAME, AttrType, RawAttribute};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, Message, Setter, TransactionId};
use rtc_stun::textattrs::TextAttribute;

use crate::edge::peer::dtls_guard::{Guard, Phase, Verdict};
use crate::edge::peer::srtp::{Profile, Srtp};
use crate::edge::plan::{Fingerprint, IceCredentials, IcePlan};

const CHANNEL: u16 = 1;
const REPEAT_GAP: Duration = Duration::from_millis(200);

/// What a client is like.
pub(crate) struct Options {
    pub(crate) profiles: Vec<SrtpProtectionProfile>,
    /// Of the DTLS handshake.
    pub(crate) is_server: bool,
    /// Handshake messages are cut to this; the smaller, the more datagrams.
    pub(crate) mtu: usize,
    pub(crate) ice: IcePlan,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            // In the order of Chromium.
            profiles: vec![SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80, SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm],
            is_server: false,
            mtu: 1200,
            ice: ice_plan("00srvsrvsrvsrvsr", "a password of the server"),
        }
    }
}

/// As the server sees it: `local` is the server's.
pub(crate) fn ice_plan(ufrag: &str, pwd: &str) -> IcePlan {
    IcePlan {
        local: IceCredentials { ufrag: ufrag.to_owned(), pwd: pwd.to_owned() },
        remote: IceCredentials { ufrag: "clnt".to_owned(), pwd: "a password of the client".to_owned() },
    }
}

/// One browser.
pub(crate) struct Client {
    pub(crate) options: Options,
    pub(crate) fingerprint: Fingerprint,
    dtls: Endpoint,
    config: Arc<HandshakeConfig>,
    guard: Guard,
    next_repeat: Instant,
    /// Set when the handshake is done.
    pub(crate) srtp: Option<Srtp>,
    pub(crate) said_goodbye: bool,
    sctp: rtc_sctp::Endpoint,
    association: Option<(AssociationHandle, Association)>,
    /// The SCTP packet sent last.
    last_sctp: Vec<u8>,
    /// Messages that came on the data channel: whether binary, and the payload.
    pub(crate) messages: Vec<(bool, Vec<u8>)>,
}

const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9);

impl Client {
    pub(crate) fn new(now: Instant, options: Options) -> Self {
        let guard = Guard::new(!options.is_server);
        let provider = default_provider().expect("ring");
        let certificate =
            Certificate::generate_self_signed(vec!["client".to_owned()], provider.crypto()).expect("a certificate");
        let hash = digest::digest(&digest::SHA256, &certificate.certificate[0]).as_ref().to_vec();
        let config = ConfigBuilder::default()
            .with_crypto_provider(provider)
            .with_certificates(vec![certificate])
            .with_srtp_protection_profiles(options.profiles.clone())
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            .with_insecure_skip_verify(true)
            .with_mtu(options.mtu)
            .with_server_name("weir".to_owned())
            .build(!options.is_server, None)
            .expect("a sound configuration");
        let config = Arc::new(config);
        let server = options.is_server.then(|| config.clone());
        Self {
            dtls: Endpoint::new(SERVER, TransportProtocol::UDP, server),
            options,
            fingerprint: Fingerprint { algorithm: "sha-256".to_owned(), hash },
            srtp: None,
            said_goodbye: false,
            sctp: rtc_sctp::Endpoint::new(SERVER, TransportProtocol::UDP, Arc::new(EndpointConfig::new()), None),
            association: None,
            last_sctp: Vec::new(),
            messages: Vec::new(),
            config,
            guard,
            next_repeat: now,
        }
    }

    /// A connectivity check (RFC 8445 §7.2).
    pub(crate) fn check(&self, use_candidate: bool) -> Vec<u8> {
        let mut more = vec![raw(ATTR_PRIORITY, &[1, 2, 3, 4])];
        if use_candidate {
            more.push(raw(ATTR_USE_CANDIDATE, &[]));
        }
        self.check_with(&self.options.ice, more)
    }

    /// With these credentials and attributes.
    pub(crate) fn check_with(&self, ice: &IcePlan, attributes: Vec<RawAttribute>) -> Vec<u8> {
        let provider = default_provider().expect("ring");
        let username = format!("{}:{}", ice.local.ufrag, ice.remote.ufrag);
        let integrity = MessageIntegrity::new_short_term_integrity_with_provider(ice.local.pwd.clone(), provider.crypto());
        let mut setters: Vec<Box<dyn Setter + '_>> = vec![
            Box::new(BINDING_REQUEST),
            Box::new(TransactionId::new()),
            Box::new(TextAttribute::new(ATTR_USERNAME, username)),
        ];
        setters.extend(attributes.into_iter().map(|attribute| Box::new(attribute) as Box<dyn Setter>));
        setters.push(Box::new(integrity));
        setters.push(Box::new(FINGERPRINT));
        let mut message = Message::new();
        message.build(&setters).expect("a sound message");
        message.raw
    }

    /// Opens the DTLS handshake, unless the other side does.
    pub(crate) fn start(&mut self, now: Instant) {
        if !self.options.is_server {
            self.dtls.connect(now, SERVER, self.config.clone(), None).expect("begins");
        }
    }

    /// Takes a DTLS datagram.
    pub(crate) fn receive(&mut self, now: Instant, datagram: &[u8]) {
        let phase = if self.srtp.is_some() { Phase::Connected } else { Phase::Handshaking };
        // The library has the same faults in this role; browsers have not.
        match self.guard.judge(datagram, phase) {
            Verdict::Drop => return,
            Verdict::RepeatedEnd if now < self.next_repeat => return,
            Verdict::RepeatedEnd => self.next_repeat = now + REPEAT_GAP,
            Verdict::Repeat => {
                if let Some(deadline) = self.dtls.poll_timeout(&SERVER).filter(|_| now >= self.next_repeat) {
                    self.next_repeat = now + REPEAT_GAP;
                    let _ = self.dtls.handle_timeout(SERVER, deadline);
                }
                return;
            }
            Verdict::Feed => {}
        }
        for event in self.dtls.read(now, SERVER, None, BytesMut::from(datagram)).unwrap_or_default() {
            match event {
                EndpointEvent::HandshakeComplete => self.derive_srtp(),
                EndpointEvent::ApplicationData(packet) => self.receive_sctp(now, packet.freeze()),
                EndpointEvent::PeerClosed => self.said_goodbye = true,
                _ => {}
            }
        }
    }

    pub(crate) fn transmits(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.dtls.poll_transmit()).map(|transmit| transmit.message.to_vec()).collect()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let _ = self.dtls.handle_timeout(SERVER, now);
        if let Some((_, association)) = &mut self.association {
            association.handle_timeout(now);
        }
        self.pump_sctp(now);
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let sctp = self.association.as_ref().and_then(|(_, association)| association.poll_timeout());
        [self.dtls.poll_timeout(&SERVER), sctp].into_iter().flatten().min()
    }

    /// Says goodbye.
    pub(crate) fn close(&mut self, now: Instant) {
        self.dtls.close(now).expect("closes");
    }

    /// Begins the SCTP association.
    pub(crate) fn open_sctp(&mut self, now: Instant) {
        let opened = self.sctp.connect(now, ClientConfig::default(), SERVER).expect("begins");
        self.association = Some(opened);
        self.pump_sctp(now);
    }

    /// Opens a data channel on a stream.
    pub(crate) fn open_channel(&mut self, now: Instant, stream: u16, label: &str) {
        let open = Dcep::DataChannelOpen(DataChannelOpen {
            channel_type: ChannelType::Reliable,
            priority: 0,
            reliability_parameter: 0,
            label: label.as_bytes().to_vec(),
            protocol: Vec::new(),
        });
        let open = open.marshal().expect("marshals").freeze();
        self.write(now, stream, &open, PayloadProtocolIdentifier::Dcep);
    }

    /// Sends a message on the first channel.
    pub(crate) fn send(&mut self, now: Instant, binary: bool, payload: &[u8]) {
        assert!(self.try_send(now, binary, payload), "the association is open");
    }

    /// As [`Self::send`]; false once the association is over.
    pub(crate) fn try_send(&mut self, now: Instant, binary: bool, payload: &[u8]) -> bool {
        let message = DataChannel::get_data_channel_message(!binary, BytesMut::from(payload));
        self.try_write(now, CHANNEL, &message.payload.freeze(), message.ppi)
    }

    fn write(&mut self, now: Instant, id: u16, payload: &Bytes, ppi: PayloadProtocolIdentifier) {
        assert!(self.try_write(now, id, payload, ppi), "the association is open");
    }

    fn try_write(&mut self, now: Instant, id: u16, payload: &Bytes, ppi: PayloadProtocolIdentifier) -> bool {
        let (_, association) = self.association.as_mut().expect("an association");
        let known = association.stream_ids().contains(&id);
        let stream = if known { association.stream(id) } else { association.open_stream(id, ppi) };
        let written = stream.is_ok_and(|mut stream| stream.write_chunk_with_ppi(now, payload, ppi).is_ok());
        self.pump_sctp(now);
        written
    }

    /// Sends bytes where SCTP packets are expected.
    pub(crate) fn send_raw_sctp(&mut self, now: Instant, packet: &[u8]) {
        self.dtls.write(now, SERVER, packet).expect("connected");
    }

    /// Sends chunks of the caller's making, in a packet that the association takes for its own.
    pub(crate) fn send_chunks(&mut self, now: Instant, chunks: &[u8]) {
        let mut packet = self.last_sctp[..8].to_vec();
        packet.extend_from_slice(&[0; 4]);
        packet.extend_from_slice(chunks);
        let checksum = crc32c(&packet).to_le_bytes();
        packet[8..12].copy_from_slice(&checksum);
        self.send_raw_sctp(now, &packet);
    }

    /// The chunks of the SCTP packet sent last.
    pub(crate) fn last_chunks(&self) -> &[u8] {
        &self.last_sctp[12..]
    }

    fn receive_sctp(&mut self, now: Instant, packet: Bytes) {
        if let Some((_, DatagramEvent::AssociationEvent(event))) = self.sctp.handle(now, SERVER, None, packet)
            && let Some((_, association)) = &mut self.association
        {
            association.handle_event(event);
        }
        self.pump_sctp(now);
    }

    fn pump_sctp(&mut self, now: Instant) {
        let Some((_, association)) = &mut self.association else { return };
        while let Some(event) = association.poll() {
            let Event::Stream(StreamEvent::Readable { id }) = event else { continue };
            while let Ok(Some(chunks)) = association.stream(id).and_then(|mut stream| stream.read_sctp()) {
                let payload = chunks.to_payload(1 << 20).expect("not too long").to_vec();
                match chunks.ppi {
                    PayloadProtocolIdentifier::String => self.messages.push((false, payload)),
                    PayloadProtocolIdentifier::Binary => self.messages.push((true, payload)),
                    PayloadProtocolIdentifier::StringEmpty => self.messages.push((false, Vec::new())),
                    PayloadProtocolIdentifier::BinaryEmpty => self.messages.push((true, Vec::new())),
                    _ => {}
                }
            }
        }
        while let Some(transmit) = association.poll_transmit(now) {
            if let Payload::RawEncode(packets) = transmit.message {
                for packet in packets {
                    let _ = self.dtls.write(now, SERVER, &packet);
                    self.last_sctp = packet.to_vec();
                }
            }
        }
    }

    fn derive_srtp(&mut self) {
        let state = self.dtls.get_connection_state(SERVER).expect("connected");
        let profile = match state.srtp_protection_profile() {
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => Profile::Aes128Gcm,
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => Profile::Aes128CmSha1_80,
            other => panic!("{other:?} was not offered"),
        };
        let length = profile.keying_material_len();
        let material = state.export_keying_material("EXTRACTOR-dtls_srtp", &[], length).expect("exports");
        self.srtp = Some(Srtp::new(profile, material.as_ref(), !self.options.is_server).expect("keys"));
    }
}

/// An attribute by type and value.
pub(crate) fn raw(typ: AttrType, value: &[u8]) -> RawAttribute {
    RawAttribute { typ, length: value.len() as u16, value: value.to_vec() }
}

/// RFC 9260 appendix A.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}
