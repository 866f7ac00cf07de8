//! Bodies as a sound node sends them, for tests that send them wrongly; and how large messages may be.

use bytes::Bytes;

use super::message::{Beat, Down, Errand, Known, Lines, MAX_BODY, Message, Passing, Placed, Roll, Up, encode, parse};
use super::roster::Roster;
use super::roster::tests::card;
use super::*;
use crate::edge::hub::Limits;
use crate::edge::hub::call::Said;
use crate::edge::message::{AdminOp, Chat};
use crate::id::{Identity, RegionId};

fn bytes(message: &Message) -> Vec<u8> {
    encode(message).expect("small enough").to_vec()
}

fn beat() -> Beat {
    Beat {
        number: 1,
        incarnation: 1,
        version: 3,
        known: vec![],
        epoch: None,
        seen: 0,
        lines: vec![Placed { id: "c1".into(), at: 7 }],
    }
}

fn line(to: Option<MemberId>) -> Chat {
    Chat { id: "c9".into(), cid: "1".into(), from: MemberId(5), name: "n".into(), to, text: "text".into(), at: 7 }
}

pub(in crate::edge::hub) fn a_beat() -> Vec<u8> {
    bytes(&Message::Up(Up::Beat(beat())))
}

/// A node's claim to have these members.
pub(in crate::edge::hub) fn a_roster(node: &NodeId, members: &[MemberId], name: &str) -> Vec<u8> {
    let mut roster = Roster::new(1, RegionId::new("r"));
    for (version, id) in (1_000_000..).zip(members) {
        let card = card(id.0, name);
        roster.set(version, Arc::new(Card { identity: Identity::new(format!("{id}")), stamp: u64::MAX, ..Card::clone(&card) }));
    }
    bytes(&Message::Up(Up::Roster(roster.since(node, 0).remove(0))))
}

/// One of each.
pub(in crate::edge::hub) fn samples() -> Vec<Vec<u8>> {
    let mut roster = Roster::new(1, RegionId::new("r"));
    (1..4).for_each(|id| roster.set(id, card(id, "name")));
    let delta = roster.since(&NodeId::new("n1"), 0).remove(0);
    let known = vec![Known { node: NodeId::new("n1"), incarnation: 1, version: 2 }];
    let roll = Roll {
        answers: Some(1),
        epoch: 4,
        last: 2,
        nodes: vec![(NodeId::new("n1"), 1)],
        want: Some(0),
        lines: vec!["c1".into()],
    };
    let passing = || Passing::Data { from: MemberId(5), label: "l".into(), binary: true, payload: Bytes::from_static(b"x") };
    let all = [
        Message::Up(Up::Beat(Beat { known, ..beat() })),
        Message::Up(Up::Roster(delta.clone())),
        Message::Up(Up::Line(Arc::new(line(None)))),
        Message::Up(Up::Lines(vec![Arc::new(line(None))])),
        Message::Up(Up::Passing(passing())),
        Message::Up(Up::Detach { incarnation: 1, reason: LeaveReason::Left }),
        Message::Down(Down::Roll(roll)),
        Message::Down(Down::Roster(delta)),
        Message::Down(Down::Lines(Lines { epoch: 4, since: 0, upto: 1, lines: vec![Arc::new(line(None))] })),
        Message::Down(Down::Passing(passing())),
        Message::Down(Down::Gone { node: NodeId::new("n1"), incarnation: 1, reason: LeaveReason::Left }),
        Message::Errand { id: 1, errand: Errand::Whisper(line(Some(MemberId(6)))) },
        Message::Errand { id: 2, errand: Errand::Admin { by: MemberId(5), target: MemberId(6), op: AdminOp::Remove } },
        Message::Errand { id: 3, errand: Errand::Call { from: MemberId(5), to: MemberId(6), said: Said::describing(1_000) } },
        Message::Done { id: 1 },
    ];
    all.iter().map(bytes).collect()
}

#[test]
fn every_message_is_read_as_it_was_written_and_not_if_it_is_cut_or_longer() {
    let limits = Limits::default();
    for sample in samples() {
        let message = parse(&sample, &limits).expect("a message");
        assert_eq!(bytes(&message), sample);
        assert_eq!(parse(&sample[..sample.len() - 1], &limits), None);
        assert_eq!(parse(&[&sample[..], &[0]].concat(), &limits), None);
        assert_eq!(parse(&[&[9], &sample[1..]].concat(), &limits), None, "another version");
    }
}

#[test]
fn what_is_too_long_or_too_many_is_not_read() {
    let limits = Limits::default();
    let long = "x".repeat(5_000);
    let odd = [
        Message::Up(Up::Line(Arc::new(Chat { text: long.clone(), ..line(None) }))),
        Message::Up(Up::Line(Arc::new(line(Some(MemberId(1)))))),
        Message::Up(Up::Beat(Beat { lines: vec![Placed { id: "c".into(), at: 7 }; 201], ..beat() })),
        Message::Up(Up::Passing(Passing::React { from: MemberId(1), emoji: long.clone() })),
        Message::Down(Down::Lines(Lines { epoch: 1, since: 2, upto: 1, lines: vec![] })),
        Message::Errand { id: 3, errand: Errand::Call { from: MemberId(5), to: MemberId(6), said: Said::describing(70_000) } },
        Message::Down(Down::Gone { node: NodeId::new(long), incarnation: 1, reason: LeaveReason::Left }),
    ];
    for message in &odd {
        assert_eq!(parse(&bytes(message), &limits), None, "{message:?}");
    }
    let huge = Passing::Data { from: MemberId(1), label: "l".into(), binary: true, payload: vec![0; MAX_BODY].into() };
    assert_eq!(encode(&Message::Up(Up::Passing(huge))), None);
}
