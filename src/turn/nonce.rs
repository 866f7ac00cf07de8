//! Nonces that need no memory: each holds the time it was made and a signature over that and the client's address, so that
//! challenging a flood of strangers keeps nothing (RFC 8489 §9.2). Used by `server`. Pure: told the time.

use std::net::{IpAddr, SocketAddr};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

/// The nonce cookie and the security features: password algorithms, bit 0 from the right (RFC 8489 §9.2, erratum 6290). It keeps
/// somebody on the way from hiding that SHA-256 was offered.
const COOKIE: &[u8] = b"obMatJos2AAAB";

/// Bytes of the signature that are kept: short answers are worth less to who sends requests in the name of others.
const SIGNED: usize = 12;

/// Makes and checks nonces.
#[derive(Debug)]
pub(super) struct Nonces {
    key: hmac::Key,
    /// Seconds that one is good for.
    lifetime: u64,
}

impl Nonces {
    pub(super) fn new(secret: &[u8; 32], lifetime: u64) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, secret), lifetime }
    }

    /// One for this client, made now.
    pub(super) fn make(&self, unix: u64, client: SocketAddr) -> Vec<u8> {
        let made = (unix as u32).to_be_bytes();
        let signed = self.sign(made, client);
        let mut bytes = [0; 4 + SIGNED];
        bytes.iter_mut().zip(made.iter().chain(signed.as_ref())).for_each(|(to, from)| *to = *from);
        [COOKIE, URL_SAFE_NO_PAD.encode(bytes).as_bytes()].concat()
    }

    /// Whether it was made here, for this client, not too long ago.
    pub(super) fn is_fresh(&self, nonce: &[u8], unix: u64, client: SocketAddr) -> bool {
        let Some(text) = nonce.strip_prefix(COOKIE) else { return false };
        let mut bytes = [0; 4 + SIGNED];
        if URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) != Ok(bytes.len()) {
            return false;
        }
        let Some((made, sent)) = bytes.split_first_chunk::<4>() else { return false };
        let signed = self.sign(*made, client);
        let differs = signed.as_ref().iter().zip(sent).fold(0, |sum, (a, b)| sum | (a ^ b));
        // Wraps as the clock's low 32 bits do. What seems to come from the future was not made here, or before the clock was set.
        let age = u64::from((unix as u32).wrapping_sub(u32::from_be_bytes(*made)));
        std::hint::black_box(differs) == 0 && age <= self.lifetime
    }

    fn sign(&self, made: [u8; 4], client: SocketAddr) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&made);
        match client.ip() {
            IpAddr::V4(ip) => context.update(&ip.octets()),
            IpAddr::V6(ip) => context.update(&ip.octets()),
        }
        context.update(&client.port().to_be_bytes());
        context.sign()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIX: u64 = 1_800_000_000;

    #[test]
    fn a_nonce_is_good_for_its_client_and_its_time() {
        let nonces = Nonces::new(&[1; 32], 600);
        let client: SocketAddr = "192.0.2.1:5000".parse().expect("an address");
        let nonce = nonces.make(UNIX, client);
        assert!(nonce.len() <= 36, "{} bytes", nonce.len());
        assert!(nonces.is_fresh(&nonce, UNIX, client) && nonces.is_fresh(&nonce, UNIX + 600, client));
        assert!(!nonces.is_fresh(&nonce, UNIX + 601, client), "too old");
        assert!(!nonces.is_fresh(&nonce, UNIX - 1, client), "of the future");
        assert!(!nonces.is_fresh(&nonce, UNIX, "192.0.2.1:5001".parse().expect("an address")), "of another client");
        assert!(!Nonces::new(&[2; 32], 600).is_fresh(&nonce, UNIX, client), "of another server");
        for at in 0..nonce.len() {
            let mut forged = nonce.clone();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            assert!(!nonces.is_fresh(&forged, UNIX, client), "byte {at}");
        }
        for strange in [&b""[..], b"obMatJos2AAAB", &[0xff; 36], &nonce[..20]] {
            assert!(!nonces.is_fresh(strange, UNIX, client));
        }
    }
}
