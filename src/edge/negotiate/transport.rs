//! The one transport under the bundle: which m-line's ICE and DTLS parameters count, our own credentials, and how our
//! candidates rank.

use rand::RngExt;

use super::HostCandidate;
use crate::edge::plan::{DtlsPlan, IceCredentials};
use crate::edge::sdp::{BadOffer, Candidate, Offer, Section, Setup};
use crate::id::ShardId;

/// The offer's side of ICE and DTLS.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) ice: IceCredentials,
    pub(super) dtls: DtlsPlan,
}

/// Reads it from the offerer-tagged m-line: the first of the BUNDLE group (RFC 8843 §7.1.3), or the only live one.
/// `before` is what an earlier offer settled: neither certificate nor role can change under a running handshake.
pub(super) fn remote(offer: &Offer<'_>, before: Option<&DtlsPlan>) -> Result<Remote, BadOffer> {
    let section = tagged(offer)?;
    let line = section.line;
    let transport = &section.transport;
    let (Some(ufrag), Some(pwd)) = (transport.ufrag, transport.pwd) else {
        return Err(BadOffer(format!("line {line}: the m-line that carries the bundle needs a=ice-ufrag and a=ice-pwd")));
    };
    if transport.fingerprints.is_empty() {
        return Err(BadOffer(format!(
            "line {line}: the m-line needs an a=fingerprint with sha-256, sha-384 or sha-512 (weaker ones don't count)"
        )));
    }
    // Without the attribute an endpoint means `active` (RFC 4145 §4.1).
    let offered = transport.setup.unwrap_or(Setup::Active);
    let we_are_client = match before {
        None => offered == Setup::Passive,
        Some(before) => {
            let same = before.fingerprints.len() == transport.fingerprints.len()
                && before.fingerprints.iter().all(|known| transport.fingerprints.contains(known));
            if !same {
                return Err(BadOffer(format!(
                    "line {line}: the certificate changed: a new RTCPeerConnection needs a new session"
                )));
            }
            let swapped = match offered {
                Setup::ActPass => false,
                Setup::Active => before.we_are_client,
                Setup::Passive => !before.we_are_client,
            };
            // Those who say nothing mean nothing by it.
            if swapped && transport.setup.is_some() {
                return Err(BadOffer(format!(
                    "line {line}: the DTLS roles can't be swapped in a running session: offer a=setup:actpass"
                )));
            }
            before.we_are_client
        }
    };
    Ok(Remote {
        ice: IceCredentials { ufrag: ufrag.to_owned(), pwd: pwd.to_owned() },
        dtls: DtlsPlan { we_are_client, fingerprints: transport.fingerprints.clone() },
    })
}

fn tagged<'o, 'a>(offer: &'o Offer<'a>) -> Result<&'o Section<'a>, BadOffer> {
    let live = || offer.media.iter().filter(|section| section.is_live());
    let found = match &offer.bundle {
        Some(mids) => mids.iter().find_map(|mid| live().find(|section| section.mid == Some(mid))),
        None if live().count() > 1 => {
            let why = "several m-lines without a=group:BUNDLE: offer with bundlePolicy `max-bundle`";
            return Err(BadOffer(why.into()));
        }
        None => live().next(),
    };
    found.ok_or_else(|| BadOffer("no m-line is in use: offer at least one that is not stopped".into()))
}

/// Draws our side. The user fragment begins with the shard, so that a TCP listener finds it; 128 random bits protect the
/// password as RFC 8445 §5.3 asks.
pub(super) fn credentials(shard: ShardId, rng: &mut impl rand::Rng) -> IceCredentials {
    let tail = rng.random::<u64>() >> 8;
    let (high, low) = (rng.random::<u64>(), rng.random::<u64>());
    IceCredentials { ufrag: format!("{:02x}{tail:014x}", shard.0), pwd: format!("{high:016x}{low:016x}") }
}

/// Candidates with their priorities (RFC 8445 §5.1.2.1, RFC 6544 §4.2), in the order they were given: UDP before TCP.
pub(super) fn ranked(candidates: &[HostCandidate]) -> Vec<Candidate> {
    let mut ranked: Vec<Candidate> = candidates
        .iter()
        .zip(0_u16..)
        .map(|(candidate, index)| {
            let (preference, local) = match candidate.tcp {
                false => (126_u32, u32::from(u16::MAX - index)),
                // Direction preference 4 is `passive` of a host candidate.
                true => (90, (4 << 13) + u32::from(0x1fff_u16.saturating_sub(index))),
            };
            Candidate { addr: candidate.addr, tcp: candidate.tcp, priority: (preference << 24) + (local << 8) + 255 }
        })
        .collect();
    ranked.sort_by_key(|candidate| candidate.tcp);
    ranked
}
