//! DTLS 1.2 with one peer: proves by the certificate's fingerprint that it is the one the offer named, gives the SRTP keys
//! (RFC 5764), and carries the data channels' packets. Wraps `rtc-dtls`; owns one association for the peer's life. Routes
//! are not its business: `transport` feeds it only what came from a validated one.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use ring::digest;
use rtc_dtls::cipher_suite::CipherSuiteId;
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use rtc_dtls::crypto_provider::{RTCCryptoProvider, default_provider};
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use rtc_shared::error::Error;

use super::client_hello::Gatherer;
use super::dtls_guard::{Guard, Phase, Verdict};
use super::srtp::{Profile, Srtp};
use crate::edge::media::CloseReason;
use crate::edge::plan::{DtlsPlan, Fingerprint};

/// The library keys associations by address. There is one, and its route may change, so it gets a name for an address.
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 1);
/// Who opens the handshake also drives it: our timer as client, the client's as server, where ours is the last resort. The
/// library gives up after seven repeats of a flight.
const CLIENT_INTERVAL: Duration = Duration::from_secs(1);
const SERVER_INTERVAL: Duration = Duration::from_secs(4);
/// Least time between two answers to a repeated flight; doubles with each.
const FIRST_REPEAT_GAP: Duration = Duration::from_millis(200);
const MAX_REPEATS: u32 = 5;
/// Datagrams waiting to be sent; a handshake flight is five. SCTP's own window keeps it far below this.
const MAX_TRANSMITS: usize = 256;
/// How the check of the certificate tells its failure apart from the library's own.
const WRONG_FINGERPRINT: &str = "the certificate is not the one the offer named";

/// The node's certificate: ECDSA P-256, self-signed, made anew at each start. Clients know it by its fingerprint.
pub struct Certificate {
    certificate: rtc_dtls::crypto::Certificate,
    provider: Arc<dyn RTCCryptoProvider>,
    fingerprint: Fingerprint,
}

/// The certificate could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the DTLS certificate: {0}")]
pub struct CertificateError(String);

impl Certificate {
    pub fn generate() -> Result<Self, CertificateError> {
        let provider = default_provider().map_err(|error| CertificateError(error.to_string()))?;
        let name = vec!["weir".to_owned()];
        let certificate = rtc_dtls::crypto::Certificate::generate_self_signed(name, provider.crypto())
            .map_err(|error| CertificateError(error.to_string()))?;
        let der = certificate.certificate.first().ok_or_else(|| CertificateError("it is empty".to_owned()))?;
        let hash = digest::digest(&digest::SHA256, der).as_ref().to_vec();
        let fingerprint = Fingerprint { algorithm: "sha-256".to_owned(), hash };
        Ok(Self { certificate, provider, fingerprint })
    }

    /// For `a=fingerprint` of every answer: SHA-256.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint.clone()
    }
}

/// What happened on the association.
pub enum Event {
    /// The handshake is done and the certificate right: the keys for media.
    Connected(Box<Srtp>),
    /// A packet for SCTP.
    Data(BytesMut),
    /// Over for good; comes once.
    Closed(CloseReason),
}

/// A datagram that was not taken.
#[derive(Debug, PartialEq, Eq)]
pub struct BadDtls;

/// One peer's association.
pub struct Dtls {
    certificate: Arc<Certificate>,
    plan: DtlsPlan,
    stage: Stage,
    guard: Guard,
    repeats: u32,
    next_repeat: Option<Instant>,
    transmits: VecDeque<Bytes>,
}

enum Stage {
    /// Server: the ClientHello is not whole yet. Client: no route is valid yet.
    Idle(Gatherer),
    Handshaking(Box<Endpoint>),
    Connected(Box<Endpoint>),
    Closed,
}

impl Dtls {
    pub fn new(certificate: Arc<Certificate>, plan: &DtlsPlan) -> Self {
        Self {
            certificate,
            plan: plan.clone(),
            stage: Stage::Idle(Gatherer::default()),
            guard: Guard::new(plan.we_are_client),
            repeats: 0,
            next_repeat: None,
            transmits: VecDeque::new(),
        }
    }

    /// Obeys a newer plan. An association is never made anew: a plan that names another certificate ends it.
    pub fn configure(&mut self, now: Instant, plan: &DtlsPlan, out: &mut Vec<Event>) {
        let fits = match &self.stage {
            Stage::Idle(_) => {
                self.guard = Guard::new(plan.we_are_client);
                true
            }
            // The handshake runs with the fingerprints it began with; the new ones are looked at when it is done.
            Stage::Handshaking(_) | Stage::Closed => true,
            Stage::Connected(endpoint) => shows_one_of(endpoint, &plan.fingerprints),
        };
        self.plan = plan.clone();
        if !fits {
            self.close(now);
            out.push(Event::Closed(CloseReason::WrongFingerprint));
        }
    }

    /// A route is valid. The client of the handshake begins.
    pub fn start(&mut self, now: Instant, out: &mut Vec<Event>) {
        if !self.plan.we_are_client || !matches!(self.stage, Stage::Idle(_)) {
            return;
        }
        let began = self.config(&[Profile::Aes128Gcm, Profile::Aes128CmSha1_80]).and_then(|config| {
            let mut endpoint = Endpoint::new(PEER, TransportProtocol::UDP, None);
            endpoint.connect(now, PEER, config, None).map(|()| endpoint)
        });
        match began {
            Ok(endpoint) => self.stage = Stage::Handshaking(Box::new(endpoint)),
            Err(_) => self.fail(CloseReason::HandshakeFailed, out),
        }
        self.collect();
    }

    /// Takes a datagram from a validated route.
    pub fn receive(&mut self, now: Instant, datagram: &[u8], out: &mut Vec<Event>) -> Result<(), BadDtls> {
        match &mut self.stage {
            Stage::Idle(_) if self.plan.we_are_client => Err(BadDtls),
            Stage::Idle(gatherer) => {
                let Some(hello) = gatherer.push(datagram).map_err(|_| BadDtls)? else { return Ok(()) };
                // Without a profile we speak, the library is left to refuse it, with an alert.
                let profiles =
                    hello.profile.map_or(vec![Profile::Aes128Gcm, Profile::Aes128CmSha1_80], |profile| vec![profile]);
                match self.config(&profiles) {
                    Ok(config) => {
                        let endpoint = Endpoint::new(PEER, TransportProtocol::UDP, Some(config));
                        self.stage = Stage::Handshaking(Box::new(endpoint));
                    }
                    Err(_) => self.fail(CloseReason::HandshakeFailed, out),
                }
                // Fragments that came twice are of no account here.
                hello.datagrams.iter().for_each(|datagram| drop(self.feed(now, datagram, out)));
                Ok(())
            }
            Stage::Handshaking(_) | Stage::Connected(_) => self.feed(now, datagram, out),
            Stage::Closed => Err(BadDtls),
        }
    }

    /// Sends application data. What does not fit is dropped; SCTP repeats it.
    pub fn write(&mut self, now: Instant, data: &[u8]) {
        if let Stage::Connected(endpoint) = &mut self.stage {
            // It fails only when the connection is closed, which its events tell.
            let _ = endpoint.write(now, PEER, data);
            self.collect();
        }
    }

    pub fn handle_timeout(&mut self, now: Instant, out: &mut Vec<Event>) {
        let Stage::Handshaking(endpoint) = &mut self.stage else { return };
        let due = endpoint.poll_timeout(&PEER).is_some_and(|deadline| now >= deadline);
        if due && contain(|| endpoint.handle_timeout(PEER, now)).is_err() {
            self.collect();
            self.fail(CloseReason::HandshakeFailed, out);
        }
        self.collect();
    }

    pub fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Handshaking(endpoint) => endpoint.poll_timeout(&PEER),
            Stage::Idle(_) | Stage::Connected(_) | Stage::Closed => None,
        }
    }

    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        self.transmits.pop_front()
    }

    /// Says goodbye (close_notify); nothing is received any more.
    pub fn close(&mut self, now: Instant) {
        if let Stage::Handshaking(endpoint) | Stage::Connected(endpoint) = &mut self.stage {
            let _ = contain(|| endpoint.close(now));
        }
        self.collect();
        self.stage = Stage::Closed;
    }

    fn feed(&mut self, now: Instant, datagram: &[u8], out: &mut Vec<Event>) -> Result<(), BadDtls> {
        let (endpoint, phase) = match &mut self.stage {
            Stage::Handshaking(endpoint) => (endpoint, Phase::Handshaking),
            Stage::Connected(endpoint) => (endpoint, Phase::Connected),
            Stage::Idle(_) | Stage::Closed => return Err(BadDtls),
        };
        match self.guard.judge(datagram, phase) {
            Verdict::Drop => return Err(BadDtls),
            Verdict::Repeat => {
                self.repeat(now, out);
                return Ok(());
            }
            Verdict::RepeatedEnd if self.next_repeat.is_some_and(|next| now < next) => return Ok(()),
            Verdict::RepeatedEnd => self.next_repeat = Some(now + FIRST_REPEAT_GAP),
            Verdict::Feed => {}
        }
        let read = contain(|| endpoint.read(now, PEER, None, BytesMut::from(datagram)));
        self.collect();
        match read {
            Ok(events) => {
                self.repeats = 0;
                events.into_iter().for_each(|event| self.handle(now, event, out));
                Ok(())
            }
            Err(Failure::Panicked) => {
                self.fail(CloseReason::HandshakeFailed, out);
                Err(BadDtls)
            }
            Err(Failure::Refused(Error::ErrAlertFatalOrClose)) => {
                let why = match phase {
                    Phase::Handshaking => CloseReason::HandshakeFailed,
                    // It came encrypted, so it is the peer's word.
                    Phase::Connected => CloseReason::PeerClosed,
                };
                self.fail(why, out);
                Ok(())
            }
            Err(Failure::Refused(error)) => {
                if phase == Phase::Handshaking {
                    let wrong = matches!(&error, Error::Other(text) if text == WRONG_FINGERPRINT);
                    let why = if wrong { CloseReason::WrongFingerprint } else { CloseReason::HandshakeFailed };
                    self.fail(why, out);
                }
                Err(BadDtls)
            }
        }
    }

    /// Sends the last flight again. The library would on its timer only, which it forgets when it is fed a repeat.
    fn repeat(&mut self, now: Instant, out: &mut Vec<Event>) {
        let Stage::Handshaking(endpoint) = &mut self.stage else { return };
        let Some(deadline) = endpoint.poll_timeout(&PEER) else { return };
        if self.repeats >= MAX_REPEATS || self.next_repeat.is_some_and(|next| now < next) {
            return;
        }
        self.next_repeat = Some(now + FIRST_REPEAT_GAP * 2u32.pow(self.repeats));
        self.repeats += 1;
        if contain(|| endpoint.handle_timeout(PEER, deadline.max(now))).is_err() {
            self.fail(CloseReason::HandshakeFailed, out);
        }
        self.collect();
    }

    fn handle(&mut self, now: Instant, event: EndpointEvent, out: &mut Vec<Event>) {
        match event {
            EndpointEvent::HandshakeComplete => match self.complete() {
                Ok(srtp) => out.push(Event::Connected(Box::new(srtp))),
                Err(why) => {
                    self.close(now);
                    out.push(Event::Closed(why));
                }
            },
            EndpointEvent::ApplicationData(data) if matches!(self.stage, Stage::Connected(_)) => {
                out.push(Event::Data(data));
            }
            EndpointEvent::PeerClosed => self.fail(CloseReason::PeerClosed, out),
            _ => {}
        }
    }

    /// The library says the handshake is done: checks who it is and derives the keys.
    fn complete(&mut self) -> Result<Srtp, CloseReason> {
        let Stage::Handshaking(endpoint) = &self.stage else { return Err(CloseReason::HandshakeFailed) };
        let srtp = self.derive_srtp(endpoint)?;
        if let Stage::Handshaking(endpoint) = std::mem::replace(&mut self.stage, Stage::Closed) {
            self.stage = Stage::Connected(endpoint);
        }
        Ok(srtp)
    }

    fn derive_srtp(&self, endpoint: &Endpoint) -> Result<Srtp, CloseReason> {
        if !shows_one_of(endpoint, &self.plan.fingerprints) {
            return Err(CloseReason::WrongFingerprint);
        }
        let state = endpoint.get_connection_state(PEER).ok_or(CloseReason::HandshakeFailed)?;
        let profile = match state.srtp_protection_profile() {
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => Profile::Aes128Gcm,
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => Profile::Aes128CmSha1_80,
            _ => return Err(CloseReason::HandshakeFailed),
        };
        let material = state
            .export_keying_material("EXTRACTOR-dtls_srtp", &[], profile.keying_material_len())
            .map_err(|_| CloseReason::HandshakeFailed)?;
        // The role it was made in: a plan that came meanwhile may say another.
        Srtp::new(profile, material.as_ref(), state.is_client()).map_err(|_| CloseReason::HandshakeFailed)
    }

    fn fail(&mut self, why: CloseReason, out: &mut Vec<Event>) {
        if !matches!(self.stage, Stage::Closed) {
            self.stage = Stage::Closed;
            out.push(Event::Closed(why));
        }
    }

    fn config(&self, profiles: &[Profile]) -> rtc_shared::error::Result<Arc<HandshakeConfig>> {
        let profiles = profiles.iter().map(|profile| match profile {
            Profile::Aes128Gcm => SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
            Profile::Aes128CmSha1_80 => SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
        });
        let fingerprints = self.plan.fingerprints.clone();
        let interval = if self.plan.we_are_client { CLIENT_INTERVAL } else { SERVER_INTERVAL };
        let config = ConfigBuilder::default()
            .with_crypto_provider(self.certificate.provider.clone())
            .with_certificates(vec![self.certificate.certificate.clone()])
            // The one everyone must have (RFC 8827 §6.5), and one for machines without AES instructions.
            .with_cipher_suites(vec![
                CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256,
                CipherSuiteId::Tls_Ecdhe_Ecdsa_With_ChaCha20_Poly1305_Sha256,
            ])
            .with_srtp_protection_profiles(profiles.collect())
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            // Without it, the exported keys are not bound to the certificates (RFC 7627 §1).
            .with_extended_master_secret(ExtendedMasterSecretType::Require)
            // No authority stands behind these certificates: the fingerprint does (RFC 8827 §5.1).
            .with_insecure_skip_verify(true)
            .with_verify_peer_certificate(Some(Arc::new(move |certificates, _| {
                if is_one_of(certificates, &fingerprints) { Ok(()) } else { Err(Error::Other(WRONG_FINGERPRINT.to_owned())) }
            })))
            .with_flight_interval(interval)
            .with_server_name("weir".to_owned())
            .build(self.plan.we_are_client, None)?;
        Ok(Arc::new(config))
    }

    /// Moves what the library wants to send to our queue.
    fn collect(&mut self) {
        let (Stage::Handshaking(endpoint) | Stage::Connected(endpoint)) = &mut self.stage else { return };
        while let Some(transmit) = endpoint.poll_transmit() {
            if self.transmits.len() < MAX_TRANSMITS {
                self.transmits.push_back(transmit.message.freeze());
            }
        }
    }
}

/// Whether the peer's certificate has one of these fingerprints.
fn shows_one_of(endpoint: &Endpoint, fingerprints: &[Fingerprint]) -> bool {
    endpoint.get_connection_state(PEER).is_some_and(|state| is_one_of(&state.peer_certificates, fingerprints))
}

/// The first certificate is the peer's own; what may follow is its chain (RFC 5246 §7.4.2).
fn is_one_of(certificates: &[Vec<u8>], fingerprints: &[Fingerprint]) -> bool {
    let Some(der) = certificates.first() else { return false };
    fingerprints.iter().any(|fingerprint| {
        let algorithm = match fingerprint.algorithm.as_str() {
            "sha-256" => &digest::SHA256,
            "sha-384" => &digest::SHA384,
            "sha-512" => &digest::SHA512,
            _ => return false,
        };
        digest::digest(algorithm, der).as_ref() == fingerprint.hash.as_slice()
    })
}

/// Why a call into the library gave nothing.
pub(super) enum Failure<E> {
    Refused(E),
    Panicked,
}

/// Calls into a library that reads what the peer wrote. Should it panic, that peer is lost, not the shard with all its
/// peers; whatever state it left is thrown away by the caller.
pub(super) fn contain<T, E>(call: impl FnOnce() -> Result<T, E>) -> Result<T, Failure<E>> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(Failure::Refused),
        Err(_) => Err(Failure::Panicked),
    }
}
