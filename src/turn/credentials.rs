//! Who may use the relay: credentials that expire by themselves (the REST scheme that coturn and others know: the name is
//! `expiry:user`, the password its HMAC) and users that the operator listed. Owns names, passwords and the keys made of them;
//! knows no message and no allocation. Signaling issues them, `server` checks them. Pure: told the time.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use ring::{digest, hmac};

/// The number of the password algorithm SHA-256 (RFC 8489 §18.5); MD5 is 1.
pub(super) const PASSWORD_MD5: u16 = 1;
pub(super) const PASSWORD_SHA256: u16 = 2;

/// How a message is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Sha1,
    Sha256,
}

/// What a user's messages are signed with, for each way of signing.
#[derive(Clone)]
pub(super) struct Keys {
    sha1: hmac::Key,
    sha256: hmac::Key,
}

impl Keys {
    /// Of a password (RFC 8489 §9.2.2).
    fn new(user: &str, realm: &str, password: &str, password_algorithm: u16) -> Self {
        let text = [user, realm, password].join(":");
        let from = |key: &[u8]| Self {
            sha1: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key),
            sha256: hmac::Key::new(hmac::HMAC_SHA256, key),
        };
        match password_algorithm {
            PASSWORD_SHA256 => from(digest::digest(&digest::SHA256, text.as_bytes()).as_ref()),
            _ => from(&Md5::digest(text.as_bytes())),
        }
    }

    pub(super) fn of(&self, algorithm: Algorithm) -> &hmac::Key {
        match algorithm {
            Algorithm::Sha1 => &self.sha1,
            Algorithm::Sha256 => &self.sha256,
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(secret)")
    }
}

/// Makes credentials that expire, from the secret that the relay knows too.
#[derive(Clone)]
pub struct Issuer(hmac::Key);

impl Issuer {
    pub fn new(secret: &str) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes()))
    }

    /// A name and password for `user`, good until `expires`, in seconds since the Unix epoch.
    pub fn issue(&self, user: &str, expires: u64) -> (String, String) {
        let name = format!("{expires}:{user}");
        let password = self.password(&name);
        (name, password)
    }

    fn password(&self, name: &str) -> String {
        STANDARD.encode(hmac::sign(&self.0, name.as_bytes()))
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Issuer(secret)")
    }
}

/// All who may use the relay.
pub(super) struct Credentials {
    realm: String,
    issuer: Issuer,
    /// Passwords by name.
    listed: BTreeMap<String, String>,
}

/// Somebody whose name is known; the password is yet to be proved.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    /// Whose quota counts: without the expiry, so that fresh credentials are no fresh quota.
    pub(super) user: &'a str,
    /// The name is past its time: nothing new for it.
    pub(super) expired: bool,
    pub(super) keys: Keys,
}

impl Credentials {
    pub(super) fn new(realm: String, issuer: Issuer, listed: BTreeMap<String, String>) -> Self {
        Self { realm, issuer, listed }
    }

    pub(super) fn realm(&self) -> &str {
        &self.realm
    }

    /// What a name stands for, if it can be anybody's.
    pub(super) fn claim<'a>(&self, name: &'a str, password_algorithm: u16, unix: u64) -> Option<Claim<'a>> {
        let keys = |password: &str| Keys::new(name, &self.realm, password, password_algorithm);
        if let Some(password) = self.listed.get(name) {
            return Some(Claim { user: name, expired: false, keys: keys(password) });
        }
        let (expires, user) = name.split_once(':')?;
        let expires: u64 = expires.parse().ok()?;
        Some(Claim { user, expired: expires <= unix, keys: keys(&self.issuer.password(name)) })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("realm", &self.realm).field("listed", &self.listed.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> Credentials {
        let listed = [("phone".to_owned(), "1234".to_owned())].into_iter().collect();
        Credentials::new("example.org".into(), Issuer::new("north"), listed)
    }

    #[test]
    fn the_password_is_what_coturn_expects() {
        // echo -n 1800000000:ada | openssl dgst -sha1 -hmac north -binary | base64
        let (name, password) = Issuer::new("north").issue("ada", 1_800_000_000);
        assert_eq!(name, "1800000000:ada");
        assert_eq!(password, "RgrCQ8LW/vH5U93IENfd8YxpOx0=");
    }

    #[test]
    fn a_name_says_whose_it_is_and_until_when() {
        let known = credentials();
        let claim = known.claim("1800000000:ada:b", PASSWORD_MD5, 1_799_999_999).expect("known");
        assert_eq!((claim.user, claim.expired), ("ada:b", false));
        assert!(known.claim("1800000000:ada", PASSWORD_MD5, 1_800_000_000).is_some_and(|claim| claim.expired));
        assert!(known.claim("phone", PASSWORD_MD5, u64::MAX).is_some_and(|claim| !claim.expired));
        for stranger in ["", "ada", ":ada", "x:ada", "-1:ada", "99999999999999999999:ada"] {
            assert!(known.claim(stranger, PASSWORD_MD5, 0).is_none(), "{stranger}");
        }
    }
}
