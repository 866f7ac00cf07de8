//! A transport and a client in virtual time: how they come together, what they survive, how they part.

pub(crate) mod client;

use std::net::SocketAddr;

use proptest::prelude::*;
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_stun::attributes::{ATTR_ICE_CONTROLLED, ATTR_USE_CANDIDATE, AttrType};
use rtc_stun::message::{CLASS_ERROR_RESPONSE, CLASS_SUCCESS_RESPONSE, Getter, Message};
use rtc_stun::xoraddr::XorMappedAddress;

use super::*;
use crate::edge::peer::ice::{DOWN_AFTER, LOST_AFTER};
use crate::edge::plan::Fingerprint;
use client::{Client, Options, ice_plan, raw};

/// Both ends, the network between them, and the time.
struct Pair {
    now: Instant,
    server: Transport,
    client: Client,
    route: Route,
    events: Vec<TransportEvent>,
    /// Answers to connectivity checks.
    answers: Vec<(Route, Vec<u8>)>,
    /// Decides by its running number which DTLS datagram is lost.
    lose: Box<dyn Fn(usize) -> bool>,
    carried: usize,
}

impl Pair {
    fn new(options: Options) -> Self {
        Self::with_plan(options, |_| {})
    }

    fn with_plan(options: Options, change: impl FnOnce(&mut DtlsPlan)) -> Self {
        let now = Instant::now();
        let client = Client::new(now, options);
        let mut dtls = DtlsPlan { we_are_client: client.options.is_server, fingerprints: vec![client.fingerprint.clone()] };
        change(&mut dtls);
        let certificate = Arc::new(Certificate::generate().expect("a certificate"));
        let sctp = SctpPlan { port: 5000, max_message_size: 262_144 };
        let server = Transport::new(now, certificate, &client.options.ice, &dtls, Some(&sctp));
        Self {
            now,
            server,
            client,
            route: udp(1),
            events: Vec::new(),
            answers: Vec::new(),
            lose: Box::new(|_| false),
            carried: 0,
        }
    }

    /// Connected, with nothing left to say.
    fn connected(options: Options) -> Self {
        let mut pair = Self::new(options);
        pair.check(true);
        pair.client.start(pair.now);
        pair.run_until(|pair| pair.server.is_connected() && pair.client.srtp.is_some());
        pair.settle();
        pair.events.clear();
        pair
    }

    fn check(&mut self, use_candidate: bool) -> Received {
        let mut check = self.client.check(use_candidate);
        self.deliver(self.route, &mut check)
    }

    fn deliver(&mut self, route: Route, datagram: &mut [u8]) -> Received {
        let received = self.server.receive(self.now, route, datagram, &mut self.events);
        self.settle();
        received
    }

    /// Carries datagrams in both directions until there are none.
    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            while let Some((route, datagram)) = self.server.poll_transmit() {
                quiet = false;
                if Protocol::of(&datagram) == Protocol::Stun {
                    self.answers.push((route, datagram.to_vec()));
                } else if !self.loses() {
                    self.client.receive(self.now, &datagram);
                }
            }
            for mut datagram in self.client.transmits() {
                quiet = false;
                if !self.loses() {
                    self.server.receive(self.now, self.route, &mut datagram, &mut self.events);
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn loses(&mut self) -> bool {
        self.carried += 1;
        (self.lose)(self.carried)
    }

    /// Lets time pass from deadline to deadline.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let next = [self.server.deadline(), self.client.deadline()].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            self.client.handle_timeout(self.now);
            self.server.handle_timeout(self.now, &mut self.events);
            self.settle();
        }
        self.now = end;
    }

    fn run_until(&mut self, done: impl Fn(&Self) -> bool) {
        self.settle();
        for _ in 0..100 {
            if done(self) {
                return;
            }
            self.pass(Duration::from_millis(200));
        }
        panic!("it does not come to that; events: {:?}", self.events);
    }

    /// A packet from the client, and what the server makes of it.
    fn media(&mut self, sequence: u8) -> Received {
        let mut packet = rtp(sequence);
        self.client.srtp.as_mut().expect("connected").seal_rtp(&mut packet, 0).expect("seals");
        self.deliver(self.route, &mut packet)
    }

    fn assert_works(&mut self, sequence: u8) {
        assert_eq!(self.media(sequence), Received::Rtp(rtp(sequence).len()));
        let mut packet = rtp(sequence);
        self.server.seal_rtp(&mut packet, 0).expect("seals");
        let opened = self.client.srtp.as_mut().expect("connected").open_rtp(&mut packet);
        assert_eq!(opened, Ok(rtp(sequence).len()));
    }
}

fn udp(port: u16) -> Route {
    Route::Udp(SocketAddr::from(([127, 0, 0, 1], port)))
}

fn rtp(sequence: u8) -> Vec<u8> {
    vec![0x80, 96, 0, sequence, 0, 0, 0, 1, 0, 0, 0, 9, 1, 2, 3, 4]
}

fn stun(datagram: &[u8]) -> Message {
    let mut message = Message::new();
    message.unmarshal_binary(datagram).expect("sound STUN");
    message
}

#[test]
fn connects_and_prefers_gcm() {
    for (offered, expected) in
        [(vec![1, 7], Profile::Aes128Gcm), (vec![7, 1], Profile::Aes128Gcm), (vec![1], Profile::Aes128CmSha1_80)]
    {
        let profiles = offered.into_iter().map(|profile: u16| SrtpProtectionProfile::from(profile)).collect();
        let mut pair = Pair::new(Options { profiles, ..Options::default() });
        assert_eq!(pair.check(true), Received::Nothing);
        assert_eq!(pair.events, [TransportEvent::Validated(pair.route)]);
        pair.client.start(pair.now);
        pair.settle();
        assert_eq!(pair.events, [TransportEvent::Validated(pair.route), TransportEvent::Connected]);
        assert_eq!(pair.server.profile(), Some(expected));
        pair.assert_works(1);
        let mut report = vec![0x80, 201, 0, 1, 0, 0, 0, 9];
        pair.client.srtp.as_mut().expect("connected").seal_rtcp(&mut report, 0).expect("seals");
        assert_eq!(pair.deliver(pair.route, &mut report), Received::Rtcp(8));
    }
}

#[test]
fn connects_as_dtls_client() {
    let mut pair = Pair::new(Options { is_server: true, ..Options::default() });
    pair.check(true);
    pair.run_until(|pair| pair.server.is_connected() && pair.client.srtp.is_some());
    assert_eq!(pair.server.profile(), Some(Profile::Aes128Gcm), "we offer it first");
    pair.assert_works(1);
}

#[test]
fn a_plan_that_swaps_roles_during_the_handshake_changes_nothing() {
    let mut pair = Pair::new(Options { mtu: 300, ..Options::default() });
    pair.lose = Box::new(|number| number == 6);
    pair.check(true);
    pair.client.start(pair.now);
    pair.settle();
    assert!(!pair.server.is_connected(), "it is in the midst of it");
    let ice = pair.client.options.ice.clone();
    let dtls = DtlsPlan { we_are_client: true, fingerprints: vec![pair.client.fingerprint.clone()] };
    pair.server.configure(pair.now, &ice, &dtls, None, &mut pair.events);
    pair.run_until(|pair| pair.server.is_connected() && pair.client.srtp.is_some());
    pair.assert_works(1);
}

#[test]
fn connects_with_a_client_hello_in_pieces() {
    let mut pair = Pair::connected(Options { mtu: 100, ..Options::default() });
    assert_eq!(pair.server.profile(), Some(Profile::Aes128Gcm));
    pair.assert_works(1);
}

#[test]
fn connects_whichever_datagram_is_lost() {
    for mtu in [100, 1200] {
        for is_server in [false, true] {
            for lost in 1..=20 {
                let mut pair = Pair::new(Options { mtu, is_server, ..Options::default() });
                pair.lose = Box::new(move |number| number == lost);
                pair.check(true);
                pair.client.start(pair.now);
                for _ in 0..10 {
                    pair.pass(Duration::from_secs(1));
                    pair.check(true);
                }
                let both = (pair.server.is_connected(), pair.client.srtp.is_some());
                assert_eq!(both, (true, true), "mtu {mtu}, client is DTLS server: {is_server}, lost {lost}");
            }
        }
    }
}

#[test]
fn connects_over_a_path_that_loses_a_quarter() {
    for seed in 0..30u64 {
        let is_server = seed % 2 == 1;
        let mut pair = Pair::new(Options { mtu: 300, is_server, ..Options::default() });
        // A number's hash decides: the same each time, and no pattern of period.
        pair.lose = Box::new(move |number| {
            let hash = (number as u64 + 1000 * seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hash >> 62 == 0
        });
        pair.check(true);
        pair.client.start(pair.now);
        for _ in 0..25 {
            pair.pass(Duration::from_secs(1));
            pair.check(true);
        }
        assert!(pair.server.is_connected() && pair.client.srtp.is_some(), "seed {seed}: {:?}", pair.events);
    }
}

#[test]
fn the_wrong_certificate_is_refused() {
    for is_server in [false, true] {
        let wrong = Fingerprint { algorithm: "sha-256".to_owned(), hash: vec![0; 32] };
        let options = Options { is_server, ..Options::default() };
        let mut pair = Pair::with_plan(options, |plan| plan.fingerprints = vec![wrong]);
        pair.check(true);
        pair.client.start(pair.now);
        pair.settle();
        assert_eq!(pair.events.last(), Some(&TransportEvent::Closed(CloseReason::WrongFingerprint)));
        assert!(!pair.events.contains(&TransportEvent::Connected));
        assert_eq!(pair.server.seal_rtp(&mut rtp(1), 0), Err(SealError::NotConnected));
    }
}

#[test]
fn any_of_the_offered_fingerprints_will_do() {
    let wrong = Fingerprint { algorithm: "sha-512".to_owned(), hash: vec![0; 64] };
    let mut pair = Pair::with_plan(Options::default(), |plan| plan.fingerprints.insert(0, wrong));
    pair.check(true);
    pair.client.start(pair.now);
    pair.run_until(|pair| pair.server.is_connected());
}

#[test]
fn a_client_without_a_profile_of_ours_is_refused() {
    let profiles = vec![SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm];
    let mut pair = Pair::new(Options { profiles, ..Options::default() });
    pair.check(true);
    pair.client.start(pair.now);
    pair.settle();
    assert_eq!(pair.events.last(), Some(&TransportEvent::Closed(CloseReason::HandshakeFailed)));
}

#[test]
fn checks_are_answered_with_the_address_they_came_from() {
    let mut pair = Pair::new(Options::default());
    for route in [
        udp(4711),
        Route::Udp("[2001:db8::7]:4712".parse().expect("an address")),
        Route::Tcp { conn: 3, addr: SocketAddr::from(([192, 0, 2, 7], 4713)) },
    ] {
        let mut check = pair.client.check(false);
        pair.deliver(route, &mut check);
        let (to, answer) = pair.answers.pop().expect("an answer");
        assert_eq!(to, route);
        let mut answer = stun(&answer);
        assert_eq!(answer.typ.class, CLASS_SUCCESS_RESPONSE);
        assert_eq!(answer.transaction_id, stun(&check).transaction_id);
        let mut mapped = XorMappedAddress::default();
        mapped.get_from(&answer).expect("an address");
        assert_eq!(SocketAddr::new(mapped.ip, mapped.port), route.addr());
        rtc_stun::fingerprint::FINGERPRINT.check(&answer).expect("a fingerprint");
        let provider = rtc_dtls::crypto_provider::default_provider().expect("ring");
        let password = pair.client.options.ice.local.pwd.clone();
        rtc_stun::integrity::MessageIntegrity::check(&mut answer, password.as_bytes(), provider.crypto())
            .expect("signed with the answer's password");
    }
}

#[test]
fn who_does_not_know_the_password_hears_nothing() {
    let mut pair = Pair::new(Options::default());
    let ours = pair.client.options.ice.clone();
    for (ufrag, pwd, remote) in [
        (ours.local.ufrag.as_str(), "guessed", "clnt"),
        ("another", ours.local.pwd.as_str(), "clnt"),
        (ours.local.ufrag.as_str(), ours.local.pwd.as_str(), "stranger"),
    ] {
        let mut plan = ice_plan(ufrag, pwd);
        plan.remote.ufrag = remote.to_owned();
        let mut check = pair.client.check_with(&plan, vec![]);
        assert_eq!(pair.deliver(udp(1), &mut check), Received::Dropped(DropReason::BadStun));
    }
    let mut check = pair.client.check(true);
    let last = check.len() - 1;
    check[last] ^= 1;
    assert_eq!(pair.deliver(udp(1), &mut check), Received::Dropped(DropReason::BadStun), "a wrong fingerprint");
    assert!(pair.answers.is_empty() && pair.events.is_empty());
    assert_eq!(pair.media_from_nowhere(), Received::Dropped(DropReason::UnknownSource));
}

impl Pair {
    fn media_from_nowhere(&mut self) -> Received {
        self.deliver(udp(99), &mut rtp(1))
    }
}

#[test]
fn conflicting_roles_and_unknown_demands_are_told() {
    let mut pair = Pair::new(Options::default());
    for (attributes, code) in [
        (vec![raw(ATTR_ICE_CONTROLLED, &[0; 8]), raw(ATTR_USE_CANDIDATE, &[])], [4, 87]),
        (vec![raw(AttrType(0x7777), &[1, 2, 3])], [4, 20]),
    ] {
        let ice = pair.client.options.ice.clone();
        let mut check = pair.client.check_with(&ice, attributes);
        assert_eq!(pair.deliver(udp(1), &mut check), Received::Nothing);
        let answer = stun(&pair.answers.pop().expect("an answer").1);
        assert_eq!(answer.typ.class, CLASS_ERROR_RESPONSE);
        assert_eq!(answer.get(AttrType(9)).expect("a code")[2..4], code);
        assert_eq!(pair.server.route(), None);
    }
}

#[test]
fn media_follows_the_latest_nomination() {
    let mut pair = Pair::connected(Options::default());
    let (old, new) = (pair.route, udp(2));
    pair.route = new;
    pair.check(false);
    assert_eq!(pair.server.route(), Some(old));
    assert_eq!(pair.media(1), Received::Rtp(16), "a valid route may carry media before it is nominated");
    pair.check(true);
    assert_eq!(pair.server.route(), Some(new));
    pair.assert_works(2);
    pair.route = old;
    assert_eq!(pair.media(3), Received::Rtp(16), "what was on its way is not lost");
}

#[test]
fn media_moves_when_the_selected_route_falls_silent() {
    let mut pair = Pair::connected(Options::default());
    pair.pass(DOWN_AFTER - Duration::from_millis(1));
    pair.route = udp(2);
    pair.check(false);
    assert_eq!(pair.server.route(), Some(udp(1)));
    pair.pass(Duration::from_millis(1));
    pair.check(false);
    assert_eq!(pair.server.route(), Some(udp(2)));
}

#[test]
fn an_ice_restart_keeps_the_old_credentials_until_the_new_are_nominated() {
    let mut pair = Pair::connected(Options::default());
    let old = pair.client.options.ice.clone();
    let mut new = ice_plan("00newnewnewnewne", "another password");
    new.remote.ufrag = "clnt2".to_owned();
    let dtls = DtlsPlan { we_are_client: false, fingerprints: vec![pair.client.fingerprint.clone()] };
    for _ in 0..2 {
        pair.server.configure(pair.now, &new, &dtls, None, &mut pair.events);
    }
    assert_eq!(pair.server.local_ufrags().collect::<Vec<_>>(), ["00newnewnewnewne", "00srvsrvsrvsrvsr"]);
    assert_eq!(pair.check(true), Received::Nothing, "the old still answer");
    pair.client.options.ice = new;
    pair.route = udp(2);
    pair.check(false);
    assert_eq!(pair.server.route(), Some(udp(1)));
    pair.check(true);
    assert_eq!(pair.server.route(), Some(udp(2)));
    assert_eq!(pair.server.local_ufrags().count(), 1);
    pair.client.options.ice = old;
    assert_eq!(pair.check(true), Received::Dropped(DropReason::BadStun));
    pair.assert_works(1);
}

#[test]
fn silence_is_told_and_then_is_the_end() {
    let mut pair = Pair::connected(Options::default());
    pair.pass(DOWN_AFTER);
    assert_eq!(pair.events, [TransportEvent::IceDown]);
    pair.check(true);
    assert_eq!(pair.events, [TransportEvent::IceDown, TransportEvent::IceUp]);
    pair.pass(LOST_AFTER - Duration::from_millis(1));
    assert!(!pair.server.is_closed());
    pair.pass(Duration::from_millis(1));
    let closed = TransportEvent::Closed(CloseReason::ConsentLost);
    assert_eq!(pair.events[2..], [TransportEvent::IceDown, closed]);
    assert_eq!(pair.server.deadline(), None);
    assert_eq!(pair.check(true), Received::Dropped(DropReason::Closed));
    assert!(LOST_AFTER <= Duration::from_secs(15), "a crashed tab must be gone for others by then");
}

#[test]
fn media_is_a_sign_of_life_but_no_consent_for_ever() {
    let mut pair = Pair::connected(Options::default());
    for second in 0..29 {
        pair.pass(Duration::from_secs(1));
        assert_eq!(pair.media(second), Received::Rtp(16), "{second}");
    }
    assert_eq!(pair.events, []);
    pair.pass(Duration::from_secs(1));
    assert_eq!(pair.events, [TransportEvent::Closed(CloseReason::ConsentLost)]);
}

#[test]
fn who_never_connects_is_given_up() {
    let mut silent = Pair::new(Options::default());
    silent.pass(CONNECT_WITHIN);
    assert_eq!(silent.events, [TransportEvent::Closed(CloseReason::NeverConnected)]);

    let mut halfway = Pair::new(Options::default());
    for _ in 0..30 {
        halfway.check(true);
        halfway.pass(Duration::from_secs(1));
    }
    assert_eq!(halfway.events.last(), Some(&TransportEvent::Closed(CloseReason::NeverConnected)));
}

#[test]
fn goodbyes_are_heard_in_both_directions() {
    let mut pair = Pair::connected(Options::default());
    pair.client.close(pair.now);
    pair.settle();
    assert_eq!(pair.events, [TransportEvent::Closed(CloseReason::PeerClosed)]);

    let mut pair = Pair::connected(Options::default());
    pair.server.close(pair.now);
    pair.settle();
    assert!(pair.client.said_goodbye);
    assert_eq!(pair.events, []);
}

#[test]
fn a_plan_with_another_certificate_ends_an_established_session() {
    let mut pair = Pair::connected(Options::default());
    let ice = pair.client.options.ice.clone();
    let mut dtls = DtlsPlan { we_are_client: false, fingerprints: vec![pair.client.fingerprint.clone()] };
    pair.server.configure(pair.now, &ice, &dtls, None, &mut pair.events);
    assert_eq!(pair.events, []);
    dtls.fingerprints[0].hash[0] ^= 1;
    pair.server.configure(pair.now, &ice, &dtls, None, &mut pair.events);
    assert_eq!(pair.events, [TransportEvent::Closed(CloseReason::WrongFingerprint)]);
}

#[test]
fn a_replayed_packet_is_told_from_a_forged_one() {
    let mut pair = Pair::connected(Options::default());
    let mut packet = rtp(1);
    pair.client.srtp.as_mut().expect("connected").seal_rtp(&mut packet, 0).expect("seals");
    assert_eq!(pair.deliver(pair.route, &mut packet.clone()), Received::Rtp(16));
    assert_eq!(pair.deliver(pair.route, &mut packet.clone()), Received::Dropped(DropReason::Replayed));
    packet[3] = 2;
    assert_eq!(pair.deliver(pair.route, &mut packet), Received::Dropped(DropReason::BadSrtp));
}

#[test]
fn routes_are_bounded_and_the_selected_stays() {
    let mut pair = Pair::connected(Options::default());
    for port in 100..200 {
        pair.now += Duration::from_millis(1);
        pair.route = udp(port);
        pair.check(false);
    }
    assert_eq!(pair.server.routes().count(), 16);
    assert_eq!(pair.server.route(), Some(udp(1)));
    let count = |kind: fn(&TransportEvent) -> bool| pair.events.iter().filter(|event| kind(event)).count();
    assert_eq!(count(|event| matches!(event, TransportEvent::Validated(_))), 100);
    assert_eq!(count(|event| matches!(event, TransportEvent::Invalidated(_))), 85);
}

mod channels {
    use super::*;

    fn with_channel(label: &str) -> Pair {
        let mut pair = Pair::connected(Options::default());
        pair.client.open_sctp(pair.now);
        pair.settle();
        pair.client.open_channel(pair.now, 1, label);
        pair.settle();
        pair
    }

    #[test]
    fn messages_pass_in_both_directions() {
        let mut pair = with_channel("chat");
        let long = vec![7; 60_000];
        for (binary, payload) in [(false, &b"hello"[..]), (true, &long), (false, b""), (true, b"")] {
            pair.client.send(pair.now, binary, payload);
            pair.pass(Duration::from_secs(2));
            pair.check(true);
            let expected = TransportEvent::Data { label: "chat".into(), binary, payload: Bytes::copy_from_slice(payload) };
            assert_eq!(pair.events.pop(), Some(expected));
            pair.server.send_data(pair.now, "chat", binary, payload).expect("sends");
            pair.settle();
            pair.pass(Duration::from_secs(2));
            pair.check(true);
            assert_eq!(pair.client.messages.pop(), Some((binary, payload.to_vec())));
        }
        assert_eq!(pair.server.send_data(pair.now, "other", false, b"x"), Err(DataError::NoChannel));
        assert_eq!(pair.server.send_data(pair.now, "chat", true, &[0; 70_000]), Err(DataError::TooLong));
    }

    #[test]
    fn messages_survive_loss() {
        let mut pair = with_channel("chat");
        pair.lose = Box::new(|number| number % 4 == 0);
        for number in 0..20u8 {
            pair.client.send(pair.now, true, &[number; 3000]);
            pair.settle();
        }
        for _ in 0..60 {
            pair.pass(Duration::from_secs(1));
            pair.check(true);
        }
        let numbers: Vec<u8> = pair
            .events
            .iter()
            .filter_map(|event| match event {
                TransportEvent::Data { payload, .. } => payload.first().copied(),
                _ => None,
            })
            .collect();
        assert_eq!(numbers, (0..20).collect::<Vec<u8>>());
    }

    #[test]
    fn a_peer_that_does_not_read_is_not_queued_for_without_end() {
        let mut pair = with_channel("chat");
        pair.lose = Box::new(|_| true);
        let refused = (0..100).map(|_| pair.server.send_data(pair.now, "chat", true, &[0; 10_000])).find(Result::is_err);
        assert_eq!(refused, Some(Err(DataError::Full)));
    }

    /// In the library alone, each of these packets takes some seconds.
    #[test]
    fn a_leap_of_numbers_is_not_walked() {
        let mut pair = with_channel("chat");
        let began = Instant::now();
        let mut tsn: u32 = 0;
        for _ in 0..40 {
            tsn = tsn.wrapping_add(1 << 30);
            let mut forward = vec![192, 0, 0, 8];
            forward.extend_from_slice(&tsn.to_be_bytes());
            pair.client.send_chunks(pair.now, &forward);
            pair.settle();
        }
        assert!(began.elapsed() < Duration::from_secs(2));
        pair.client.send(pair.now, false, b"still there");
        pair.pass(Duration::from_secs(5));
        assert!(pair.events.iter().any(|event| matches!(event, TransportEvent::Data { .. })), "{:?}", pair.events);
    }

    #[test]
    fn the_number_of_channels_is_bounded() {
        let mut pair = with_channel("first");
        for stream in 1..40 {
            pair.client.open_channel(pair.now, 2 * stream + 1, &format!("channel {stream}"));
            pair.settle();
        }
        let open = (1..40).filter(|stream| pair.server.send_data(pair.now, &format!("channel {stream}"), false, b"x").is_ok());
        assert_eq!(open.count(), 15);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn chunks_of_a_hostile_member_hurt_only_its_own_channels(
            changes in prop::collection::vec((0usize..200, any::<u8>()), 0..12),
            kind in prop_oneof![Just(None), (0u8..16).prop_map(Some), Just(Some(130)), Just(Some(192))],
            repeat in 1usize..8,
        ) {
            let mut pair = with_channel("chat");
            for number in 0..repeat {
                // One of the chunks before may have ended the association.
                if !pair.client.try_send(pair.now, true, &[number as u8; 150]) {
                    break;
                }
                let mut chunks = pair.client.last_chunks().to_vec();
                if let (Some(kind), Some(first)) = (kind, chunks.first_mut()) {
                    *first = kind;
                }
                for (at, value) in &changes {
                    if let Some(byte) = chunks.get_mut(*at) {
                        *byte = *value;
                    }
                }
                pair.client.send_chunks(pair.now, &chunks);
                pair.settle();
                pair.pass(Duration::from_millis(50));
            }
            prop_assert!(pair.server.is_connected());
            pair.assert_works(1);
        }

        #[test]
        fn bytes_that_are_no_sctp_hurt_nobody(packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 1..30)) {
            let mut pair = with_channel("chat");
            for packet in &packets {
                pair.client.send_raw_sctp(pair.now, packet);
                pair.settle();
            }
            prop_assert!(pair.server.is_connected());
            pair.assert_works(1);
        }
    }
}

mod garbage {
    use super::*;

    /// Bytes that look like one of our protocols more often than chance would have it.
    fn datagram() -> impl Strategy<Value = Vec<u8>> {
        let body = prop::collection::vec(any::<u8>(), 0..120);
        let stun_header = Just(vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
        let record = (20u8..26, 0u8..3).prop_map(|(content, epoch)| vec![content, 0xfe, 0xfd, 0, epoch]);
        let rtp_header = any::<u8>().prop_map(|kind| vec![0x80, kind]);
        let start = prop_oneof![Just(vec![]), stun_header, record, rtp_header];
        (start, body, any::<bool>()).prop_map(|(mut start, body, right_length)| {
            let is_record = start.first().is_some_and(|byte| (20..26).contains(byte));
            start.extend_from_slice(&body);
            // A record whose length is right gets further.
            if is_record && right_length && start.len() > 13 {
                let length = (start.len() - 13) as u16;
                start[11..13].copy_from_slice(&length.to_be_bytes());
            }
            start
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn never_disturbs_an_established_session(datagrams in prop::collection::vec(datagram(), 1..80)) {
            let mut pair = Pair::connected(Options::default());
            for (number, datagram) in datagrams.iter().enumerate() {
                let received = pair.deliver(pair.route, &mut datagram.clone());
                prop_assert!(!matches!(received, Received::Rtp(_) | Received::Rtcp(_)));
                pair.deliver(udp(77), &mut datagram.clone());
                pair.assert_works(number as u8);
            }
            prop_assert!(pair.events.is_empty(), "{:?}", pair.events);
        }

        #[test]
        fn is_survived_at_every_stage(datagrams in prop::collection::vec(datagram(), 1..40), every in 1usize..5) {
            let mut pair = Pair::new(Options { mtu: 200, ..Options::default() });
            pair.deliver(pair.route, &mut datagrams[0].clone());
            pair.check(true);
            pair.client.start(pair.now);
            let mut garbage = datagrams.iter().cycle().take(100);
            for _ in 0..30 {
                for mut datagram in pair.client.transmits() {
                    if let Some(garbage) = garbage.by_ref().step_by(every).next() {
                        pair.server.receive(pair.now, pair.route, &mut garbage.clone(), &mut pair.events);
                    }
                    pair.server.receive(pair.now, pair.route, &mut datagram, &mut pair.events);
                }
                while let Some((_, datagram)) = pair.server.poll_transmit() {
                    pair.client.receive(pair.now, &datagram);
                }
            }
        }
    }

    /// Random bytes seldom are a handshake; single flipped bits of a true one reach deeper.
    #[test]
    fn damaged_handshakes_do_not_panic() {
        for number in 1..8 {
            for position in 0..120 {
                let mut pair = Pair::new(Options { mtu: 400, ..Options::default() });
                pair.check(true);
                pair.client.start(pair.now);
                let mut carried = 0;
                for _ in 0..6 {
                    for mut datagram in pair.client.transmits() {
                        carried += 1;
                        if carried == number
                            && let Some(byte) = datagram.get_mut(position * 3)
                        {
                            *byte ^= 1 << (position % 8);
                        }
                        pair.server.receive(pair.now, pair.route, &mut datagram, &mut pair.events);
                    }
                    while let Some((_, datagram)) = pair.server.poll_transmit() {
                        pair.client.receive(pair.now, &datagram);
                    }
                }
            }
        }
    }
}

#[test]
fn a_certificate_is_shared_between_threads() {
    fn is_shared<T: Send + Sync>() {}
    fn is_sent<T: Send>() {}
    is_shared::<Certificate>();
    is_sent::<Srtp>();
}
