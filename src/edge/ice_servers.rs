//! Which STUN and TURN servers a client is told of, and with which credentials. Owns no server: `node` makes this from what it
//! runs, `edge::hub` and the HTTP routes hand it out. Pure: told the time.

use std::time::Duration;

use super::message::IceServer;
use crate::turn::Issuer;

/// URLs and the means to make credentials for them. By default none.
#[derive(Debug, Clone, Default)]
pub struct IceServers {
    /// `stun:` URLs, for everybody.
    pub stun: Vec<String>,
    /// `turn:` and `turns:` URLs, which need credentials.
    pub turn: Vec<String>,
    /// Makes the credentials, and how long they are good.
    pub credentials: Option<(Issuer, Duration)>,
}

impl IceServers {
    /// For whoever asks.
    pub fn for_anybody(&self) -> Vec<IceServer> {
        let stun = IceServer { urls: self.stun.clone(), username: None, credential: None };
        Some(stun).filter(|server| !server.urls.is_empty()).into_iter().collect()
    }

    /// For somebody who proved to be `user`. `unix` is now, in seconds since the epoch.
    pub fn for_user(&self, user: &str, unix: u64) -> Vec<IceServer> {
        let mut servers = self.for_anybody();
        if let Some((issuer, ttl)) = self.credentials.as_ref().filter(|_| !self.turn.is_empty()) {
            let (username, credential) = issuer.issue(user, unix.saturating_add(ttl.as_secs()));
            servers.push(IceServer { urls: self.turn.clone(), username: Some(username), credential: Some(credential) });
        }
        servers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_get_no_credentials_and_members_their_own() {
        let servers = IceServers {
            stun: vec!["stun:192.0.2.1:3478".into()],
            turn: vec!["turn:192.0.2.1:3478?transport=udp".into()],
            credentials: Some((Issuer::new("secret"), Duration::from_secs(60))),
        };
        assert!(servers.for_anybody().iter().all(|server| server.credential.is_none()));
        let known = servers.for_user("ada", 1_000);
        let turn = known.iter().find(|server| server.credential.is_some()).expect("TURN");
        assert_eq!(turn.username.as_deref(), Some("1060:ada"));
        assert_ne!(turn.credential, servers.for_user("ben", 1_000).pop().expect("TURN").credential);
        assert!(IceServers::default().for_user("ada", 1_000).is_empty());
    }
}
