//! Fragments of SDP: what clients of WHIP and WHEP send after their offer (`application/trickle-ice-sdpfrag`, RFC 8840 §9), and
//! what answers one that restarts ICE. Owns their grammar and bounds; what a fragment does to a session is `edge::hub`'s.

use super::attribute::ice_text;
use super::{BadOffer, bad};
use crate::edge::plan::IceCredentials;

/// The longest fragment that is read.
pub const MAX_FRAGMENT: usize = 16 * 1024;
/// The most candidates it may hold.
const MAX_CANDIDATES: usize = 128;

/// A fragment, as far as an ICE-lite server cares: it learns addresses from checks, so candidates are counted and left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fragment {
    pub ufrag: Option<String>,
    pub pwd: Option<String>,
    pub candidates: usize,
    /// `a=end-of-candidates`.
    pub ended: bool,
}

impl Fragment {
    /// Reads a fragment. Credentials count where they are named first, as all m-lines share one transport.
    pub fn parse(text: &str) -> Result<Self, BadOffer> {
        if text.len() > MAX_FRAGMENT {
            return Err(BadOffer(format!("the fragment is longer than {MAX_FRAGMENT} bytes: send fewer candidates at once")));
        }
        let mut fragment = Self::default();
        for (index, line) in text.lines().enumerate() {
            let at = index + 1;
            let line = line.trim_end();
            if line.is_empty() {
                continue;
            }
            let Some((letter, value)) = line.split_once('=').filter(|(letter, _)| letter.len() == 1) else {
                return Err(bad(at, "expected `letter=value`", line));
            };
            if letter != "a" {
                continue;
            }
            let (name, value) = value.split_once(':').unwrap_or((value, ""));
            match name {
                "ice-ufrag" => fragment.ufrag = fragment.ufrag.or(Some(ice_text(at, value, 4)?.to_owned())),
                "ice-pwd" => fragment.pwd = fragment.pwd.or(Some(ice_text(at, value, 22)?.to_owned())),
                "candidate" => {
                    fragment.candidates += 1;
                    if fragment.candidates > MAX_CANDIDATES {
                        return Err(BadOffer(format!("line {at}: more than {MAX_CANDIDATES} candidates in one fragment")));
                    }
                }
                "end-of-candidates" => fragment.ended = true,
                _ => {}
            }
        }
        if fragment == Self::default() {
            return Err(BadOffer("the fragment says nothing: send a=ice-ufrag and a=ice-pwd, a=candidate or both".into()));
        }
        Ok(fragment)
    }

    /// The credentials of a client that restarts ICE; `None` while they are the ones in use, or none are told.
    pub fn restarts(&self, current: &IceCredentials) -> Result<Option<IceCredentials>, BadOffer> {
        match (&self.ufrag, &self.pwd) {
            (Some(ufrag), Some(pwd)) if *ufrag != current.ufrag => {
                Ok(Some(IceCredentials { ufrag: ufrag.clone(), pwd: pwd.clone() }))
            }
            (Some(ufrag), None) if *ufrag != current.ufrag => {
                Err(BadOffer("to restart ICE a fragment needs a=ice-pwd beside its new a=ice-ufrag".into()))
            }
            _ => Ok(None),
        }
    }
}

/// What answers a fragment that restarts ICE: our new credentials, and the candidates that our answer to the offer had, as they
/// stay the same.
pub fn restarted(answer: &str, ice: &IceCredentials) -> String {
    let mut out = String::new();
    let mut line = |content: &str| out.extend([content, "\r\n"]);
    let mut lines = answer.lines();
    let live = |line: &str| line.split(' ').nth(1).is_some_and(|port| port != "0");
    // Which m-line has the transport: the first that was not refused.
    let tagged = loop {
        match lines.next() {
            Some(text) if text == "a=ice-lite" || text.starts_with("a=group:") => line(text),
            Some(text) if text.starts_with("m=") && live(text) => break text,
            Some(_) => {}
            None => break "",
        }
    };
    line(tagged);
    let section = lines.take_while(|line| !line.starts_with("m="));
    let (mids, rest): (Vec<&str>, Vec<&str>) = section.partition(|line| line.starts_with("a=mid:"));
    mids.into_iter().for_each(&mut line);
    line(&format!("a=ice-ufrag:{}", ice.ufrag));
    line(&format!("a=ice-pwd:{}", ice.pwd));
    let kept = |line: &&str| line.starts_with("a=candidate:") || *line == "a=end-of-candidates";
    rest.into_iter().filter(kept).for_each(&mut line);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const PWD: &str = "0123456789abcdef012345";

    fn credentials(ufrag: &str) -> IceCredentials {
        IceCredentials { ufrag: ufrag.into(), pwd: PWD.into() }
    }

    #[test]
    fn a_trickle_is_told_from_a_restart() {
        let text = format!(
            "a=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:EsAw\r\na=ice-pwd:{PWD}\r\n\
             a=candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host\r\na=end-of-candidates\r\n"
        );
        let fragment = Fragment::parse(&text).expect("good");
        assert_eq!((fragment.candidates, fragment.ended), (1, true));
        assert_eq!(fragment.restarts(&credentials("EsAw")), Ok(None));
        assert_eq!(fragment.restarts(&credentials("other")), Ok(Some(credentials("EsAw"))));
        let bare = Fragment::parse("a=candidate:1 1 udp 1 192.0.2.1 1 typ host").expect("some tell no credentials");
        assert_eq!(bare.restarts(&credentials("EsAw")), Ok(None));
        let half = Fragment::parse("a=ice-ufrag:newer").expect("it may be the current one");
        assert!(half.restarts(&credentials("EsAw")).is_err());
    }

    #[test]
    fn the_first_credentials_count() {
        let text = format!("a=ice-ufrag:aaaa\na=ice-pwd:{PWD}\nm=audio 9 X 0\na=ice-ufrag:bbbb\na=ice-pwd:{PWD}x\n");
        let fragment = Fragment::parse(&text).expect("good");
        assert_eq!(fragment.restarts(&credentials("zzzz")), Ok(Some(credentials("aaaa"))));
    }

    #[test]
    fn what_is_no_fragment_is_refused_by_line() {
        let many = "a=candidate:1\n".repeat(MAX_CANDIDATES + 1);
        for (text, says) in [
            ("", "says nothing"),
            ("v=0\r\ns=-\r\n", "says nothing"),
            ("hello", "line 1"),
            ("a=mid:0\n==", "line 2"),
            ("a=ice-ufrag:abc", "line 1"),
            ("a=ice-ufrag:a:b:c", "line 1"),
            ("a=ice-pwd:short", "line 1"),
            (&many, "129"),
            (&"a=x\n".repeat(MAX_FRAGMENT), "longer"),
        ] {
            let error = Fragment::parse(text).expect_err("refused").to_string();
            assert!(error.contains(says) || (says == "129" && error.contains("line 129")), "{error}");
        }
    }

    #[test]
    fn a_restart_is_answered_with_the_transport_of_the_answer_only() {
        let answer = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\na=ice-lite\r\na=group:BUNDLE 1\r\nm=audio 0 X 0\r\na=mid:0\r\n\
                      m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=ice-ufrag:old0\r\na=ice-pwd:old\r\n\
                      a=candidate:1 1 udp 5 192.0.2.1 7882 typ host\r\na=end-of-candidates\r\na=rtpmap:96 VP8/90000\r\n";
        let expected = format!(
            "a=ice-lite\r\na=group:BUNDLE 1\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=ice-ufrag:new0\r\na=ice-pwd:{PWD}\r\n\
             a=candidate:1 1 udp 5 192.0.2.1 7882 typ host\r\na=end-of-candidates\r\n"
        );
        assert_eq!(restarted(answer, &credentials("new0")), expected);
        assert!(Fragment::parse(&expected).is_ok(), "it is a fragment itself");
    }
}
