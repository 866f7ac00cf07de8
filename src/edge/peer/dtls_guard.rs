//! Judges datagrams before the DTLS library sees them. The library gathers handshake fragments without a useful bound, joins
//! them by recursion, forgets its retransmission timer when a repeated flight comes in, and answers malformed plaintext with
//! a fatal alert; what could make use of that stops here. Owns the judgement; `dtls` obeys it.

use super::records::{Content, Fragment, Malformed, fragments, records};

/// Handshake fragments and the like taken in an association's life. A handshake over a bad path needs some dozens.
const BUDGET: u16 = 256;
/// Encrypted handshake records, whose fragments we cannot see: one Finished and its repeats.
const ENCRYPTED_BUDGET: u16 = 48;
/// An encrypted Finished has some 50 bytes.
const MAX_ENCRYPTED_HANDSHAKE: usize = 128;
/// Encrypted records that may overtake the end of the handshake.
const EARLY_BUDGET: u16 = 32;
/// The largest handshake message; a chain of RSA certificates has some 5 KiB.
const MAX_MESSAGE: usize = 16 * 1024;
/// A handshake has six messages in each direction.
const MAX_MESSAGES: usize = 16;

/// How far the association is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Handshaking,
    Connected,
}

/// What to do with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Feed,
    /// The peer repeats a flight that is here already, so ours was lost: send ours again, and do not feed this.
    Repeat,
    /// It repeats the very last flight. The library answers that by itself, once for each such datagram it is fed, and
    /// seven times in all.
    RepeatedEnd,
    Drop,
}

/// The memory of one association.
pub struct Guard {
    we_are_client: bool,
    budget: u16,
    encrypted_budget: u16,
    early_budget: u16,
    /// What arrived of each plaintext message so far.
    messages: Vec<Coverage>,
}

/// Which bytes of a message arrived, as disjoint ranges.
#[derive(Clone, Default)]
struct Coverage {
    ranges: Vec<(usize, usize)>,
    complete: bool,
}

impl Guard {
    pub fn new(we_are_client: bool) -> Self {
        Self {
            we_are_client,
            budget: BUDGET,
            encrypted_budget: ENCRYPTED_BUDGET,
            early_budget: EARLY_BUDGET,
            messages: Vec::new(),
        }
    }

    pub fn judge(&mut self, datagram: &[u8], phase: Phase) -> Verdict {
        let (mut only_repeats, mut has_plaintext, mut has_finished) = (true, false, false);
        for record in records(datagram) {
            let Ok(record) = record else { return Verdict::Drop };
            let fine = match (record.content, record.epoch) {
                (Content::ApplicationData, 1) => {
                    only_repeats = false;
                    phase == Phase::Connected || spend(&mut self.early_budget)
                }
                (Content::Alert, 1) => {
                    only_repeats = false;
                    true
                }
                (Content::Handshake, 1) => {
                    only_repeats = false;
                    has_finished = true;
                    record.body.len() <= MAX_ENCRYPTED_HANDSHAKE && spend(&mut self.encrypted_budget)
                }
                // Plaintext: anyone who can spoof the peer's address can have sent it.
                (Content::Handshake, 0) => match self.take_fragments(record.body) {
                    Ok(repeats) => {
                        only_repeats &= repeats;
                        has_plaintext = true;
                        true
                    }
                    Err(Malformed) => false,
                },
                (Content::ChangeCipherSpec, 0) => {
                    only_repeats = false;
                    record.body == [1] && spend(&mut self.budget)
                }
                (Content::Alert, 0) => {
                    only_repeats = false;
                    phase == Phase::Handshaking && matches!(record.body, [1 | 2, _])
                }
                _ => false,
            };
            if !fine {
                return Verdict::Drop;
            }
        }
        match phase {
            Phase::Handshaking if only_repeats && self.is_past_cookie() => Verdict::Repeat,
            Phase::Connected if has_finished => Verdict::RepeatedEnd,
            // The rest of that flight comes with a Finished, which is answered.
            Phase::Connected if has_plaintext => Verdict::Repeat,
            Phase::Handshaking | Phase::Connected => Verdict::Feed,
        }
    }

    /// Notes the fragments of a plaintext record; tells whether all belong to messages that are complete already.
    fn take_fragments(&mut self, body: &[u8]) -> Result<bool, Malformed> {
        let mut repeats = true;
        for fragment in fragments(body) {
            let fragment = fragment?;
            if fragment.length > MAX_MESSAGE || !spend(&mut self.budget) {
                return Err(Malformed);
            }
            let sequence = usize::from(fragment.sequence);
            if sequence >= MAX_MESSAGES {
                return Err(Malformed);
            }
            if self.messages.len() <= sequence {
                self.messages.resize(sequence + 1, Coverage::default());
            }
            let message = self.messages.get_mut(sequence).ok_or(Malformed)?;
            repeats &= message.complete;
            message.add(&fragment);
        }
        Ok(repeats)
    }

    /// The library answers a repeated first ClientHello by itself, before the client proved its address with the cookie.
    fn is_past_cookie(&self) -> bool {
        let complete = self.messages.iter().take_while(|message| message.complete).count();
        complete > usize::from(!self.we_are_client)
    }
}

impl Coverage {
    fn add(&mut self, fragment: &Fragment<'_>) {
        if self.complete {
            return;
        }
        let (mut from, mut to) = (fragment.offset, fragment.offset + fragment.body.len());
        self.ranges.retain(|(start, end)| {
            let touches = *start <= to && from <= *end;
            if touches {
                from = from.min(*start);
                to = to.max(*end);
            }
            !touches
        });
        self.complete = (from, to) == (0, fragment.length);
        self.ranges.push((from, to));
    }
}

fn spend(budget: &mut u16) -> bool {
    let left = budget.checked_sub(1);
    *budget = left.unwrap_or_default();
    left.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshake(sequence: u8, length: u8, offset: u8, part: u8) -> Vec<u8> {
        let mut datagram = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12 + part];
        datagram.extend_from_slice(&[1, 0, 0, length, 0, sequence, 0, 0, offset, 0, 0, part]);
        datagram.resize(datagram.len() + usize::from(part), 0);
        datagram
    }

    fn record(content: u8, epoch: u8, body: &[u8]) -> Vec<u8> {
        let mut datagram = vec![content, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 0, 0, body.len() as u8];
        datagram.extend_from_slice(body);
        datagram
    }

    #[test]
    fn tells_a_repeated_flight_from_a_new_one() {
        let mut guard = Guard::new(false);
        let mut judge = |datagram: Vec<u8>| guard.judge(&datagram, Phase::Handshaking);
        assert_eq!(judge(handshake(0, 20, 0, 20)), Verdict::Feed);
        assert_eq!(judge(handshake(0, 20, 0, 20)), Verdict::Feed, "no cookie yet: the library repeats its answer");
        assert_eq!(judge(handshake(1, 20, 10, 10)), Verdict::Feed);
        assert_eq!(judge(handshake(1, 20, 10, 10)), Verdict::Feed, "still incomplete");
        assert_eq!(judge(handshake(1, 20, 0, 15)), Verdict::Feed);
        assert_eq!(judge(handshake(1, 20, 0, 20)), Verdict::Repeat, "complete, however it is cut");
        assert_eq!(guard.judge(&handshake(1, 20, 0, 20), Phase::Connected), Verdict::Repeat);
        assert_eq!(guard.judge(&record(22, 1, &[0; 40]), Phase::Connected), Verdict::RepeatedEnd);
    }

    #[test]
    fn plaintext_cannot_hurt_an_established_association() {
        let mut guard = Guard::new(false);
        for datagram in [
            record(21, 0, &[2, 40]),
            record(23, 0, &[1, 2, 3]),
            record(20, 1, &[1]),
            record(20, 0, &[2]),
            record(22, 1, &[0; 200]),
            record(22, 2, &[0; 20]),
            record(25, 1, &[0; 20]),
            vec![22, 0xfe, 0xfd, 0, 0],
        ] {
            assert_eq!(guard.judge(&datagram, Phase::Connected), Verdict::Drop, "{datagram:?}");
        }
        assert_eq!(guard.judge(&record(23, 1, &[0; 40]), Phase::Connected), Verdict::Feed);
    }

    #[test]
    fn a_flood_of_fragments_runs_dry() {
        let mut guard = Guard::new(false);
        let fed = (0..10_000)
            .filter(|round| {
                let datagram = handshake(2, 250, (round % 125 * 2) as u8, 1);
                guard.judge(&datagram, Phase::Handshaking) == Verdict::Feed
            })
            .count();
        assert_eq!(fed, usize::from(BUDGET));
    }
}
