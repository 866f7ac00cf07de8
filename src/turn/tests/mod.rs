//! Stories about the relay in virtual time: a server, clients who sign as RFC 8489 says, and what each is told.

mod abuse;
mod bounds;
mod flood;
mod life;

use std::collections::VecDeque;

use proptest::prelude::*;
use ring::hmac;

use super::*;
use crate::stun::{
    Attributes, ERROR_CODE, MESSAGE_INTEGRITY, Transaction, USERNAME, Writer, kind_of, transaction_of, xor_address,
};

const UNIX: u64 = 1_800_000_000;
const REALM: &str = "example.org";
const SECRET: &str = "the secret of the tests";

const ALLOCATE: u16 = 0x0003;
const REFRESH: u16 = 0x0004;
const SEND: u16 = 0x0016;
const CREATE_PERMISSION: u16 = 0x0008;
const CHANNEL_BIND: u16 = 0x0009;

const UDP: (u16, &[u8]) = (0x0019, &[17, 0, 0, 0]);

/// What somebody signs with.
#[derive(Clone)]
struct Login {
    name: String,
    password: String,
}

fn login(user: &str) -> Login {
    let (name, password) = Issuer::new(SECRET).issue(user, UNIX + 3_600);
    Login { name, password }
}

fn settings() -> Settings {
    Settings {
        realm: REALM.into(),
        issuer: Issuer::new(SECRET),
        users: [("phone".to_owned(), "1234".to_owned())].into_iter().collect(),
        external: vec!["198.51.100.7".parse().expect("an address"), "2001:db8::7".parse().expect("an address")],
        bind_v4: Ipv4Addr::UNSPECIFIED,
        bind_v6: Ipv6Addr::UNSPECIFIED,
        ports: 50_000..=50_999,
        allocations: 100,
        user_allocations: 3,
        allocation_kbps: 0,
        user_kbps: 0,
        lifetime: Duration::from_secs(600),
        most_lifetime: Duration::from_secs(3_600),
        policy: Policy { own_ips: vec!["198.51.100.7".parse().expect("an address")], ..Policy::default() },
    }
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address and port")
}

fn udp(text: &str) -> Client {
    Client::Udp { listener: 0, addr: addr(text) }
}

/// A server with its clock, and the shell's part: binding.
struct World {
    server: Server,
    now: Now,
    /// Whether binding works, in order; it does when this is empty.
    binds: VecDeque<bool>,
    next: u64,
}

impl World {
    fn new(settings: Settings) -> Self {
        let now = Now { instant: Instant::now(), unix: UNIX };
        Self { server: Server::new(settings, [7; 32]), now, binds: VecDeque::new(), next: 0 }
    }

    fn wait(&mut self, seconds: u64) -> Vec<Output> {
        self.now.instant += Duration::from_secs(seconds);
        self.now.unix += seconds;
        let mut out = Vec::new();
        if self.server.deadline().is_some_and(|at| at <= self.now.instant) {
            self.server.handle_timeout(self.now.instant, &mut out);
        }
        out
    }

    fn say(&mut self, client: Client, message: &[u8]) -> Vec<Output> {
        let mut waiting = Vec::new();
        self.server.from_client(self.now, client, message, &mut waiting);
        let mut done = Vec::new();
        while !waiting.is_empty() {
            for output in std::mem::take(&mut waiting) {
                match output {
                    Output::Bind { relay, .. } => {
                        let good = self.binds.pop_front().unwrap_or(true);
                        self.server.bound(self.now, relay, good, &mut waiting);
                    }
                    other => done.push(other),
                }
            }
        }
        done
    }

    fn hear_peer(&mut self, relay: u64, from: &str, length: usize) -> Vec<Output> {
        let mut out = Vec::new();
        self.server.from_peer(self.now, RelayId(relay), addr(from), length, &mut out);
        out
    }

    fn transaction(&mut self) -> Transaction {
        self.next += 1;
        let mut transaction = [9; 12];
        transaction[..8].copy_from_slice(&self.next.to_be_bytes());
        transaction
    }

    /// Sends a signed request with a nonce as the server hands them out.
    fn ask(&mut self, client: Client, login: &Login, kind: u16, attributes: &[(u16, &[u8])]) -> Answer {
        let nonce = self.server.nonces.make(self.now.unix, client.addr());
        let message = self.signed(login, kind, attributes, &nonce);
        self.answer(client, &message)
    }

    fn signed(&mut self, login: &Login, kind: u16, attributes: &[(u16, &[u8])], nonce: &[u8]) -> Vec<u8> {
        let mut message = Writer::new(kind, &self.transaction());
        for (attribute, value) in attributes {
            message.attribute(*attribute, value);
        }
        message.attribute(USERNAME, login.name.as_bytes());
        message.attribute(message::REALM, REALM.as_bytes());
        message.attribute(message::NONCE, nonce);
        message.integrity(MESSAGE_INTEGRITY, &key(login));
        message.fingerprint();
        message.finish()
    }

    fn answer(&mut self, client: Client, message: &[u8]) -> Answer {
        let out = self.say(client, message);
        let mut answers = out.into_iter().filter_map(|output| match output {
            Output::Answer { client: to, message } => Some((to, message)),
            _ => None,
        });
        let (to, answered) = answers.next().expect("an answer");
        assert_eq!(to, client);
        assert_eq!(transaction_of(&answered), transaction_of(message));
        assert!(answers.next().is_none(), "one answer");
        Answer(answered)
    }

    /// An allocation, and the number of its relay.
    fn allocate(&mut self, client: Client, login: &Login) -> SocketAddr {
        let answer = self.ask(client, login, ALLOCATE, &[UDP]);
        assert_eq!(answer.code(), None);
        answer.address(message::XOR_RELAYED_ADDRESS).expect("a relayed address")
    }

    fn permit(&mut self, client: Client, login: &Login, peer: &str) -> Option<u16> {
        let peer = xored(self.next + 1, peer);
        self.ask(client, login, CREATE_PERMISSION, &[(message::XOR_PEER_ADDRESS, &peer)]).code()
    }

    fn bind(&mut self, client: Client, login: &Login, number: u16, peer: &str) -> Option<u16> {
        let peer = xored(self.next + 1, peer);
        let number = [number.to_be_bytes(), [0, 0]].concat();
        self.ask(client, login, CHANNEL_BIND, &[(message::CHANNEL_NUMBER, &number), (message::XOR_PEER_ADDRESS, &peer)]).code()
    }

    /// Sends data in a Send indication.
    fn send(&mut self, client: Client, peer: &str, data: &[u8]) -> Option<SocketAddr> {
        let transaction = self.transaction();
        let mut message = Writer::new(SEND, &transaction);
        message.xor_address(message::XOR_PEER_ADDRESS, addr(peer));
        message.attribute(message::DATA, data);
        sent_to(&self.say(client, &message.finish()), data.len())
    }

    fn send_channel(&mut self, client: Client, number: u16, data: &[u8]) -> Option<SocketAddr> {
        let message = [&number.to_be_bytes()[..], &(data.len() as u16).to_be_bytes(), data].concat();
        sent_to(&self.say(client, &message), data.len())
    }
}

/// Where data of that length went.
fn sent_to(out: &[Output], length: usize) -> Option<SocketAddr> {
    match out {
        [] => None,
        [Output::ToPeer { to, data, .. }] => {
            assert_eq!(data.len(), length);
            Some(*to)
        }
        other => panic!("{other:?}"),
    }
}

/// The value of an XOR-PEER-ADDRESS in the `next`th message.
fn xored(next: u64, peer: &str) -> Vec<u8> {
    let mut transaction = [9; 12];
    transaction[..8].copy_from_slice(&next.to_be_bytes());
    let mut message = Writer::new(SEND, &transaction);
    let peer = addr(peer);
    if peer.is_ipv6() {
        // As it is, mapped or not: the writer would take a mapped address out of its clothes.
        let mut value = vec![0, 2];
        value.extend_from_slice(&(peer.port() ^ 0x2112).to_be_bytes());
        let IpAddr::V6(ip) = peer.ip() else { unreachable!("it is IPv6") };
        let mask = crate::stun::MAGIC.iter().chain(&transaction);
        value.extend(ip.octets().iter().zip(mask).map(|(byte, mask)| byte ^ mask));
        return value;
    }
    message.xor_address(message::XOR_PEER_ADDRESS, peer);
    Attributes::of(&message.finish()).next().expect("an attribute").2.to_vec()
}

fn key(login: &Login) -> hmac::Key {
    use md5::Digest;
    let text = format!("{}:{REALM}:{}", login.name, login.password);
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &md5::Md5::digest(text))
}

/// What the server said.
#[derive(Debug)]
struct Answer(Vec<u8>);

impl Answer {
    fn attribute(&self, kind: u16) -> Option<Vec<u8>> {
        Attributes::of(&self.0).find(|(_, found, _)| *found == kind).map(|(_, _, value)| value.to_vec())
    }

    /// The error code; none is success.
    fn code(&self) -> Option<u16> {
        let is_error = kind_of(&self.0).expect("STUN") & 0x0110 == 0x0110;
        let value = self.attribute(ERROR_CODE);
        assert_eq!(is_error, value.is_some());
        value.map(|value| u16::from(value[2]) * 100 + u16::from(value[3]))
    }

    fn address(&self, kind: u16) -> Option<SocketAddr> {
        xor_address(&self.attribute(kind)?, &transaction_of(&self.0)?)
    }

    fn lifetime(&self) -> Option<u32> {
        Some(u32::from_be_bytes(self.attribute(message::LIFETIME)?.try_into().ok()?))
    }

    fn is_signed_by(&self, login: &Login) -> bool {
        let found = Attributes::of(&self.0).find(|(_, kind, _)| *kind == MESSAGE_INTEGRITY);
        found.is_some_and(|(at, _, value)| crate::stun::is_signed(&key(login), &self.0[..at], value))
    }
}

proptest! {
    /// Any attributes in any message, signed or not, in any order, panic nowhere and leave the tables bounded.
    #[test]
    fn any_messages_are_survived(
        messages in prop::collection::vec(
            (any::<u16>(), prop::collection::vec((any::<u16>(), prop::collection::vec(any::<u8>(), 0..24)), 0..8), any::<bool>()),
            1..20,
        ),
    ) {
        let mut world = World::new(settings());
        let (client, ada) = (udp("192.0.2.1:5000"), login("ada"));
        for (kind, attributes, signed) in messages {
            let kind = [ALLOCATE, REFRESH, CREATE_PERMISSION, CHANNEL_BIND, SEND, 1, kind][usize::from(kind) % 7];
            let known = [0x000c, 0x000d, 0x0012, 0x0013, 0x0017, 0x0018, 0x0019, 0x001a, 0x0022, 0x8000, 0x001d, 0x8002];
            let attributes: Vec<(u16, &[u8])> = attributes
                .iter()
                .map(|(kind, value)| (known.get(usize::from(*kind) % 16).copied().unwrap_or(*kind), value.as_slice()))
                .collect();
            let nonce = world.server.nonces.make(world.now.unix, client.addr());
            let message = if signed {
                world.signed(&ada, kind, &attributes, &nonce)
            } else {
                let mut message = Writer::new(kind, &world.transaction());
                attributes.iter().for_each(|(kind, value)| message.attribute(*kind, value));
                message.finish()
            };
            world.say(client, &message);
            prop_assert!(world.server.remembered() < 16);
            world.hear_peer(0, "8.8.8.8:9", 100);
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
        let mut world = World::new(settings());
        let out = world.say(udp("192.0.2.1:5000"), &bytes);
        prop_assert!(out.is_empty() || bytes.len() >= 20);
        prop_assert_eq!(world.server.remembered(), 0);
    }
}
