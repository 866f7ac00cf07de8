//! Who may join which room, and what they may do there: HS256 JSON Web Tokens with LiveKit's grant names, so that people's
//! tooling carries over. Owns verifying and minting; knows nothing of rooms or sessions. `edge::hub` verifies, `weir token`
//! and `weir dev` mint. Pure: told the time.

use std::sync::Once;
use std::time::Duration;

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::signature::{Error as SignatureError, Signer, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, EncodingKey, Header, Validation};
use ring::hmac;
use serde::{Deserialize, Serialize};

use super::message::Grants;
use crate::config::Keys;
use crate::id::{Identity, RoomId};
use crate::rtp::Source;

/// The longest life of a token to join with that we mint.
pub const MAX_JOIN_TTL: Duration = Duration::from_secs(600);

/// How far the clocks of whoever minted a token and of this server may differ, in seconds.
const LEEWAY: u64 = 10;

/// Longer tokens are refused unread.
const MAX_BYTES: usize = 8 * 1024;

/// The longest identity, room or name, in bytes.
pub const MAX_TEXT: usize = 128;

/// The claims of a token, under the names they have on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The API key, which chooses the secret.
    pub iss: String,
    /// The identity.
    pub sub: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The application's own words; passed through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// Seconds since the Unix epoch.
    pub exp: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    #[serde(default)]
    pub video: VideoGrant,
}

/// The grants. What is absent is allowed, apart from `roomJoin`, `roomAdmin` and `hidden`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VideoGrant {
    pub room: String,
    pub room_join: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub room_admin: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_subscribe: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish_data: Option<bool>,
    /// Empty: everything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub can_publish_sources: Vec<Source>,
    /// Whether others don't see the member. Absent: a member is seen, a viewer by WHEP is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<bool>,
}

impl Claims {
    /// A token to join `room` as `identity`, with every grant but `roomAdmin`. `unix` is now, in seconds; it lives
    /// [`MAX_JOIN_TTL`] at most.
    pub fn join(key: &str, room: &str, identity: &str, name: &str, unix: u64, ttl: Duration) -> Self {
        Self {
            iss: key.into(),
            sub: identity.into(),
            name: (!name.is_empty()).then(|| name.into()),
            metadata: None,
            exp: unix + ttl.min(MAX_JOIN_TTL).as_secs(),
            nbf: None,
            video: VideoGrant { room: room.into(), room_join: true, ..VideoGrant::default() },
        }
    }
}

/// What a token that was found good allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    pub room: RoomId,
    pub identity: Identity,
    pub name: String,
    pub grants: Grants,
    /// As they were signed; a fresh token repeats them.
    pub claims: Claims,
}

/// Why a token can't be used. Tells its owner what to mend and holds nothing secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the token is longer than {MAX_BYTES} bytes")]
    TooLarge,
    #[error("the token is not a JSON Web Token: three base64url parts with JSON in the first two")]
    Malformed,
    #[error("the token's claims can't be read: `iss`, `sub`, `exp` and `video` are needed")]
    Claims,
    #[error("the token is not signed with HS256")]
    Algorithm,
    #[error("the token's `iss` names no API key of this server")]
    UnknownKey,
    #[error("the token's signature is wrong: it was not signed with the secret of its API key")]
    Signature,
    #[error("the token expired {0} s ago")]
    Expired(u64),
    #[error("the token is not valid before {0} s from now")]
    NotYet(u64),
    #[error("the token does not grant `video.roomJoin`")]
    NoJoin,
    #[error("the token's `{0}` must have 1 to {MAX_TEXT} bytes and no control characters")]
    BadText(&'static str),
    #[error("the token expires {left} s from now, and {most} s is the most here: mint it shortly before it is used")]
    TooLong { left: u64, most: u64 },
    #[error("the token could not be signed")]
    Sign,
}

/// Checks a token: its algorithm, its key, its signature, its times and that it grants joining a room. `unix` is now, in
/// seconds since the epoch; a token that lives for longer than `max_ttl` more is refused.
pub fn verify(keys: &Keys, token: &str, unix: u64, max_ttl: Duration) -> Result<Access, TokenError> {
    if token.len() > MAX_BYTES {
        return Err(TokenError::TooLarge);
    }
    install_provider();
    let header = jsonwebtoken::decode_header(token).map_err(|error| match error.kind() {
        // `alg` is an enum, so an unknown or absent algorithm is a JSON error of the header.
        ErrorKind::Json(_) | ErrorKind::InvalidAlgorithmName => TokenError::Algorithm,
        _ => TokenError::Malformed,
    })?;
    if header.alg != Algorithm::HS256 {
        return Err(TokenError::Algorithm);
    }

    /// The one claim that is looked at before the signature is, since it chooses the key.
    #[derive(Deserialize)]
    struct Issuer {
        iss: String,
    }
    let issuer: Issuer = jsonwebtoken::dangerous::insecure_decode_claims(token).map_err(|_| TokenError::Claims)?;
    let secret = keys.get(&issuer.iss).ok_or(TokenError::UnknownKey)?.expose();

    let mut validation = Validation::new(Algorithm::HS256);
    // The times are checked below against the time we are told; `aud` is not used by anyone who mints for rooms.
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let claims = jsonwebtoken::decode::<Claims>(token, &DecodingKey::from_secret(secret.as_bytes()), &validation)
        .map_err(|error| match error.kind() {
            ErrorKind::InvalidSignature => TokenError::Signature,
            ErrorKind::InvalidAlgorithm => TokenError::Algorithm,
            ErrorKind::Json(_) => TokenError::Claims,
            _ => TokenError::Malformed,
        })?
        .claims;
    if claims.exp.saturating_add(LEEWAY) < unix {
        return Err(TokenError::Expired(unix - claims.exp));
    }
    let left = claims.exp.saturating_sub(unix);
    if left > max_ttl.as_secs().saturating_add(LEEWAY) {
        return Err(TokenError::TooLong { left, most: max_ttl.as_secs() });
    }
    if let Some(nbf) = claims.nbf
        && nbf > unix.saturating_add(LEEWAY)
    {
        return Err(TokenError::NotYet(nbf - unix));
    }
    access(claims)
}

/// Signs claims with the secret of the key that `iss` names.
pub fn mint(keys: &Keys, claims: &Claims) -> Result<String, TokenError> {
    install_provider();
    let secret = keys.get(&claims.iss).ok_or(TokenError::UnknownKey)?.expose();
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).map_err(|_| TokenError::Sign)
}

/// What the claims come to.
fn access(claims: Claims) -> Result<Access, TokenError> {
    let video = &claims.video;
    if !video.room_join {
        return Err(TokenError::NoJoin);
    }
    let fits = |text: &str| !text.is_empty() && text.len() <= MAX_TEXT && !text.chars().any(char::is_control);
    if !fits(&claims.sub) {
        return Err(TokenError::BadText("sub"));
    }
    if !fits(&video.room) {
        return Err(TokenError::BadText("video.room"));
    }
    let name = claims.name.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| claims.sub.clone());
    if !fits(&name) {
        return Err(TokenError::BadText("name"));
    }
    let grants = Grants {
        publish: video.can_publish.unwrap_or(true),
        subscribe: video.can_subscribe.unwrap_or(true),
        data: video.can_publish_data.unwrap_or(true),
        admin: video.room_admin,
        hidden: video.hidden.unwrap_or(false),
        sources: (!video.can_publish_sources.is_empty()).then(|| video.can_publish_sources.clone()),
    };
    Ok(Access { room: RoomId::new(video.room.as_str()), identity: Identity::new(claims.sub.as_str()), name, grants, claims })
}

/// `jsonwebtoken` without a provider of its own: ours is HMAC-SHA256 on `ring`, which is in the tree anyway. Its built-in
/// ones would bring a second stack of primitives, with RSA and elliptic curves that a pinned HS256 never uses.
static PROVIDER: CryptoProvider =
    CryptoProvider { signer_factory: signer, verifier_factory: verifier, key_utils: KeyUtils::new_unimplemented() };

/// Once per process, before the first use. Where another part of the process installed one already, that one stays; it
/// computes the same function.
fn install_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = PROVIDER.install_default();
    });
}

/// HMAC-SHA256 under one secret.
struct Hs256(hmac::Key);

impl Hs256 {
    fn new(algorithm: Algorithm, family: AlgorithmFamily, secret: &[u8]) -> jsonwebtoken::errors::Result<Box<Self>> {
        if algorithm != Algorithm::HS256 || family != AlgorithmFamily::Hmac {
            return Err(ErrorKind::InvalidAlgorithm.into());
        }
        Ok(Box::new(Self(hmac::Key::new(hmac::HMAC_SHA256, secret))))
    }
}

fn signer(algorithm: &Algorithm, key: &EncodingKey) -> jsonwebtoken::errors::Result<Box<dyn JwtSigner>> {
    Ok(Hs256::new(*algorithm, key.family(), key.as_bytes())?)
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> jsonwebtoken::errors::Result<Box<dyn JwtVerifier>> {
    Ok(Hs256::new(*algorithm, key.family(), key.try_get_as_bytes()?)?)
}

impl Signer<Vec<u8>> for Hs256 {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, SignatureError> {
        Ok(hmac::sign(&self.0, message).as_ref().to_vec())
    }
}

impl Verifier<Vec<u8>> for Hs256 {
    /// In constant time.
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), SignatureError> {
        hmac::verify(&self.0, message, signature).map_err(|_| SignatureError::new())
    }
}

impl JwtSigner for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl JwtVerifier for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    const NOW: u64 = 1_800_000_000;

    fn table(keys: &[(&str, &str)]) -> Keys {
        keys.iter().map(|(key, secret)| ((*key).to_owned(), Secret::new(*secret))).collect()
    }

    fn keys() -> Keys {
        table(&[("alpha", "a secret of the first key"), ("beta", "another one, of the second key")])
    }

    fn verify(keys: &Keys, token: &str, unix: u64) -> Result<Access, TokenError> {
        super::verify(keys, token, unix, MAX_JOIN_TTL)
    }

    fn join() -> Claims {
        Claims::join("alpha", "standup", "ada", "Ada", NOW, Duration::from_secs(3600))
    }

    #[test]
    fn a_minted_token_opens_its_room_and_no_longer_than_ten_minutes() {
        let token = mint(&keys(), &join()).expect("signs");
        let access = verify(&keys(), &token, NOW).expect("good");
        assert_eq!((access.room.as_str(), access.identity.as_str(), access.name.as_str()), ("standup", "ada", "Ada"));
        assert_eq!(
            access.grants,
            Grants { publish: true, subscribe: true, data: true, admin: false, hidden: false, sources: None }
        );
        assert_eq!(access.claims.exp, NOW + 600);
        assert!(verify(&keys(), &token, NOW + 600 + LEEWAY).is_ok());
        assert_eq!(verify(&keys(), &token, NOW + 601 + LEEWAY), Err(TokenError::Expired(1 + LEEWAY)));
    }

    #[test]
    fn a_token_made_by_other_tooling_is_read() {
        // Header and claims as the widespread SDKs write them; signed here with `ring` alone.
        let part = |json: &str| base64url(json.as_bytes());
        let header = part(r#"{"alg":"HS256","typ":"JWT"}"#);
        let claims = part(
            r#"{"video":{"room":"r","roomJoin":true,"roomCreate":true,"canPublish":true,"canPublishData":false,
                "canPublishSources":["microphone","screen_share"]},"iss":"beta","sub":"bob","jti":"bob",
                "nbf":1799999999,"exp":1800000060,"attributes":{"a":"b"}}"#,
        );
        let signed = format!("{header}.{claims}");
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"another one, of the second key");
        let token = format!("{signed}.{}", base64url(hmac::sign(&key, signed.as_bytes()).as_ref()));
        let access = verify(&keys(), &token, NOW).expect("good");
        assert_eq!(access.name, "bob");
        assert_eq!(access.grants.sources, Some(vec![Source::Microphone, Source::ScreenShare]));
        assert!(!access.grants.data && access.grants.subscribe);
    }

    #[test]
    fn every_flaw_has_its_own_words() {
        let keys = keys();
        let check = |token: &str| verify(&keys, token, NOW).expect_err("flawed");
        assert_eq!(check(&"x".repeat(MAX_BYTES + 1)), TokenError::TooLarge);
        for text in ["", "x", "a.b", "a.b.c", "....", "é.é.é"] {
            assert!(matches!(check(text), TokenError::Malformed | TokenError::Algorithm), "{text}");
        }
        let token = mint(&keys, &join()).expect("signs");
        let (signed, signature) = token.rsplit_once('.').expect("three parts");
        let (_, claims) = signed.split_once('.').expect("three parts");
        for header in [r#"{"alg":"none"}"#, r#"{"alg":"HS512"}"#, r#"{"alg":"RS256"}"#, r#"{"typ":"JWT"}"#] {
            let forged = format!("{}.{claims}.{signature}", base64url(header.as_bytes()));
            assert_eq!(check(&forged), TokenError::Algorithm, "{header}");
        }
        assert_eq!(check(&format!("{signed}.{}", base64url(&[0; 32]))), TokenError::Signature);
        assert_eq!(check(&format!("{signed}.")), TokenError::Signature);

        let minted = |change: &dyn Fn(&mut Claims)| {
            let mut claims = join();
            change(&mut claims);
            check(&mint(&keys, &claims).expect("signs"))
        };
        assert_eq!(minted(&|c| c.exp = NOW + 3600), TokenError::TooLong { left: 3600, most: 600 });
        assert_eq!(minted(&|c| c.nbf = Some(NOW + 60)), TokenError::NotYet(60));
        assert_eq!(minted(&|c| c.video.room_join = false), TokenError::NoJoin);
        assert_eq!(minted(&|c| c.video.room.clear()), TokenError::BadText("video.room"));
        assert_eq!(minted(&|c| c.sub = "a\nb".into()), TokenError::BadText("sub"));
        assert_eq!(minted(&|c| c.name = Some("n".repeat(129))), TokenError::BadText("name"));

        // A good signature by the wrong key, and by a key we don't have.
        let other = table(&[("alpha", "not the secret of the first")]);
        assert_eq!(check(&mint(&other, &join()).expect("signs")), TokenError::Signature);
        let strange = table(&[("gamma", "a secret of the third key")]);
        let claims = Claims { iss: "gamma".into(), ..join() };
        assert_eq!(check(&mint(&strange, &claims).expect("signs")), TokenError::UnknownKey);
        assert_eq!(mint(&keys, &claims), Err(TokenError::UnknownKey));
    }

    fn base64url(bytes: &[u8]) -> String {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut text = String::new();
        for chunk in bytes.chunks(3) {
            let word = chunk.iter().fold(0u32, |word, &byte| word << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
            for digit in 0..=chunk.len() {
                text.push(char::from(DIGITS[(word >> (18 - 6 * digit) & 63) as usize]));
            }
        }
        text
    }
}
