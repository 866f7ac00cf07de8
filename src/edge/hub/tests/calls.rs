//! Stories of media: tracks, slots, views, speakers, and what shards are told.

use super::*;
use crate::edge::hub::quality::measured;
use crate::edge::hub::speakers::talking;
use crate::edge::media::{Origin, Reason, StreamState};
use crate::edge::message::{AdminOp, QualityKind, StreamReason, StreamStateKind, ViewItem};
use crate::edge::stats::MemberStats;
use crate::policy::quality::Pictures;
use crate::rtp::{Layer, LayerSet};
use Source::{Camera, Microphone, ScreenShare};

#[test]
fn a_late_joiner_hears_of_everyone_and_gets_slots() {
    let mut world = World::new();
    let mut ada = world.join("room", "ada");
    let ids = world.publish(&mut ada, &[("mic", Microphone), ("cam", Camera)]);
    world.pass(100);

    let mut bob = world.join("room", "bob");
    let peers: Vec<Peer> = only!(world.hear(bob.conn), ServerMessage::Welcome { peers, .. } => peers).remove(0);
    assert_eq!(peers.len(), 1);
    assert_eq!((peers[0].pid, peers[0].name.as_str()), (ada.pid, "ADA"));
    assert_eq!(peers[0].tracks.iter().map(|track| track.id).collect::<Vec<_>>(), ids);
    assert_eq!(peers[0].tracks[1].layers.iter().map(|l| l.rid.as_deref().unwrap_or("")).collect::<Vec<_>>(), ["q", "h", "f"]);

    world.pass(19);
    assert_eq!(world.hear(bob.conn), []);
    world.pass(1);
    assert_eq!(world.hear(bob.conn), [ServerMessage::NeedSlots { audio: 1, video: 1 }]);
    world.commands();
    let mids = world.offer(&mut bob, &[], 1, 1);
    assert_eq!(mids.iter().map(|mid| mid.track).collect::<Vec<_>>(), [Some(ids[0]), Some(ids[1])]);
    let commands = world.commands();
    assert!(matches!(&commands[0], (ShardId(0), Command::Configure { member, .. }) if *member == bob.pid));
    let binds = only!(commands, (_, Command::Bind { member, slot, track }) => (member, slot, track));
    assert_eq!(binds, [(bob.pid, Slot(0), Some(ids[0])), (bob.pid, Slot(1), Some(ids[1]))]);
    world.check();
}

#[test]
fn tracks_come_and_go_for_those_who_are_there() {
    let mut world = World::new();
    let mut ada = world.join("room", "ada");
    let mut bob = world.join("room", "bob");
    let ids = world.publish(&mut ada, &[("mic", Microphone)]);
    world.follow(&mut bob);
    assert_eq!(world.receives(&bob), ids.iter().copied().collect());

    // The same cid keeps its id; a screen is added beside it.
    world.hear(bob.conn);
    let mids = world.offer(&mut ada, &[("screen", ScreenShare)], 0, 0);
    assert_eq!(mids[0].track, Some(ids[0]));
    let added: Vec<Track> = only!(world.hear(bob.conn), ServerMessage::TrackAdded { track, .. } => track);
    assert_eq!(added.iter().map(|track| (track.id, track.source)).collect::<Vec<_>>(), [(mids[1].track.unwrap(), ScreenShare)]);
    world.follow(&mut bob);
    assert_eq!(world.receives(&bob).len(), 2);

    // One is unpublished, the other is left out of the next offer.
    world.hear(bob.conn);
    world.commands();
    world.ask(&ada, ClientMessage::Unpublish { track: ids[0] }).expect("its own");
    assert_eq!(world.ask(&ada, ClientMessage::Unpublish { track: ids[0] }), Err(ErrorCode::NotFound));
    ada.lines.iter_mut().for_each(|(_, track)| *track = None);
    world.offer(&mut ada, &[], 0, 0);
    let heard = world.hear(bob.conn);
    let removed = only!(heard.clone(), ServerMessage::TrackRemoved { track, .. } => track);
    assert_eq!(removed, [ids[0], mids[1].track.unwrap()]);
    assert_eq!(only!(heard, ServerMessage::Bind { track, .. } => track), [None, None]);
    let gone = only!(world.commands(), (_, Command::RemoveTrack { track }) => track);
    assert_eq!(gone, removed);
    assert!(world.receives(&bob).is_empty());
    world.check();
}

#[test]
fn voices_and_faces_share_an_index_and_a_leaver_frees_its_slots() {
    let mut world = World::new();
    let mut tabs: Vec<Tab> = ["a", "b", "c"].map(|identity| world.join("room", identity)).into();
    for tab in &mut tabs {
        world.publish(tab, &[("cam", Camera), ("mic", Microphone)]);
    }
    let mut dan = world.join("room", "dan");
    world.follow(&mut dan);
    let bound = world.bound(&dan);
    assert_eq!(bound.len(), 6);
    let owner = |track: Option<TrackId>| world.hub.tracks[&track.unwrap()].owner;
    for index in 0..3 {
        assert_eq!(owner(bound[index].1), owner(bound[index + 3].1), "slot {index}");
    }
    world.say(tabs[1].conn, ClientMessage::Bye {});
    assert_eq!(world.receives(&dan).len(), 4);
    let mut eve = world.join("room", "eve");
    world.publish(&mut eve, &[("mic", Microphone), ("cam", Camera)]);
    world.pass(50);
    assert_eq!(world.receives(&dan).len(), 6, "the freed slots are used again, without an offer");
    world.check();
}

#[test]
fn shards_know_the_tracks_of_rooms_they_have_members_of_and_no_others() {
    let mut world = World::with(2, |limits| limits.room_members_per_shard = 1);
    let mut ada = world.join("room", "ada");
    let ids = world.publish(&mut ada, &[("mic", Microphone)]);
    let added = only!(world.commands(), (shard, Command::AddTrack { track }) => (shard, track.origin));
    assert_eq!(added, [(ShardId(0), Origin::Member(ada.pid))]);

    let bob = world.join("room", "bob");
    let commands = world.commands();
    assert!(matches!(&commands[0], (ShardId(1), Command::AddPeer { .. })));
    let added = only!(commands, (shard, Command::AddTrack { track }) => (shard, track.id, track.origin));
    assert_eq!(added, [(ShardId(1), ids[0], Origin::Shard(ShardId(0)))]);

    let more = world.publish(&mut ada, &[("cam", Camera)]);
    let added = only!(world.commands(), (shard, Command::AddTrack { track }) => (shard, track.id, track.origin));
    assert_eq!(added, [(ShardId(0), more[0], Origin::Member(ada.pid)), (ShardId(1), more[0], Origin::Shard(ShardId(0)))]);
    world.ask(&ada, ClientMessage::Mute { track: ids[0], muted: true }).expect("its own");
    assert_eq!(
        only!(world.commands(), (shard, Command::Mute { muted, .. }) => (shard, muted)),
        [(ShardId(0), true), (ShardId(1), true)]
    );

    world.say(bob.conn, ClientMessage::Bye {});
    let commands = world.commands();
    assert_eq!(
        only!(commands, (shard, Command::RemoveTrack { track }) => (shard, track)),
        [(ShardId(1), ids[0]), (ShardId(1), more[0])]
    );
    world.say(ada.conn, ClientMessage::Bye {});
    let commands = world.commands();
    assert_eq!(only!(commands, (shard, Command::RemoveTrack { track }) => (shard, track)).len(), 2);
    world.pass(10_000);
    world.check_empty();
}

#[test]
fn offers_that_are_stale_or_no_good_change_nothing() {
    let mut world = World::new();
    let mut ada = world.join("room", "ada");
    world.publish(&mut ada, &[("mic", Microphone)]);
    world.commands();
    assert_eq!(world.ask(&ada, ada.as_offer()), Err(ErrorCode::Stale));
    let offer = |neg, sdp: String, tracks| ClientMessage::Offer { neg, sdp, tracks, ice_restart: false };
    let good = sdp(&[(Kind::Audio, true)]);
    let mic = || published("0", "mic", Microphone);
    assert_eq!(world.ask(&ada, offer(9, "v=0".into(), vec![])), Err(ErrorCode::BadSdp));
    assert_eq!(world.ask(&ada, offer(9, good.clone(), vec![mic(), mic()])), Err(ErrorCode::BadMessage));
    assert_eq!(world.ask(&ada, offer(9, good.clone(), vec![published("7", "x", Microphone)])), Err(ErrorCode::BadSdp));
    let odd = PublishedTrack { source: Camera, ..mic() };
    assert_eq!(world.ask(&ada, offer(9, good.clone(), vec![odd])), Err(ErrorCode::BadMessage));
    let long = PublishedTrack { cid: "x".repeat(129), ..mic() };
    assert_eq!(world.ask(&ada, offer(9, good.clone(), vec![long])), Err(ErrorCode::TooLarge));
    let many: Vec<_> = (0..13).map(|n| published(&n.to_string(), &n.to_string(), Microphone)).collect();
    assert_eq!(world.ask(&ada, offer(9, good.clone(), many)), Err(ErrorCode::TooMany));
    assert_eq!(world.ask(&ada, offer(9, sdp(&[(Kind::Audio, false); 65]), vec![])), Err(ErrorCode::TooMany));
    let candidates = good.clone() + &"a=candidate:1 1 udp 1 127.0.0.1 1 typ host\r\n".repeat(129);
    assert_eq!(world.ask(&ada, offer(9, candidates, vec![mic()])), Err(ErrorCode::TooMany));
    assert_eq!(world.commands().len(), 0);
    assert_eq!(world.ask(&ada, offer(2, good, vec![mic()])), Ok(()), "the refused ones did not count");
    world.check();
}

#[test]
fn what_the_token_does_not_grant_is_forbidden() {
    let mut world = World::new();
    let mut loud = world.join("room", "loud");
    world.publish(&mut loud, &[("mic", Microphone)]);
    let mut deaf = world.join_with("deaf", |claims| {
        claims.video.can_subscribe = Some(false);
        claims.video.can_publish_data = Some(false);
        claims.video.can_publish_sources = vec![Microphone];
    });
    let subscribe = ClientMessage::Subscribe { tracks: vec![], on: true };
    assert_eq!(world.ask(&deaf, subscribe), Err(ErrorCode::Forbidden));
    let chat = ClientMessage::Chat { cid: String::new(), to: None, text: "x".into() };
    assert_eq!(world.ask(&deaf, chat), Err(ErrorCode::Forbidden));
    assert_eq!(world.ask(&deaf, ClientMessage::React { emoji: "👍".into() }), Err(ErrorCode::Forbidden));
    let admin = ClientMessage::Admin { op: AdminOp::Remove, target: loud.pid };
    assert_eq!(world.ask(&deaf, admin), Err(ErrorCode::Forbidden));
    world.publish(&mut deaf, &[("mic", Microphone)]);
    deaf.lines.push((Kind::Video, Some(published("1", "cam", Camera))));
    deaf.neg += 1;
    assert_eq!(world.ask(&deaf, deaf.as_offer()), Err(ErrorCode::Forbidden));
    deaf.lines[1].1 = None;
    world.offer(&mut deaf, &[], 2, 2);
    world.pass(500);
    assert!(world.receives(&deaf).is_empty(), "no track is bound for who may not subscribe");
    assert!(!world.hear(deaf.conn).iter().any(|message| matches!(message, ServerMessage::NeedSlots { .. })));

    let mut mute = world.join_with("mute", |claims| claims.video.can_publish = Some(false));
    mute.lines.push((Kind::Audio, Some(published("0", "mic", Microphone))));
    mute.neg = 1;
    assert_eq!(world.ask(&mute, mute.as_offer()), Err(ErrorCode::Forbidden));
    world.check();
}

#[test]
fn with_more_tracks_than_slots_screens_in_view_and_recent_speakers_win() {
    let mut world = World::with(1, |limits| limits.audio_slots = 1);
    let mut tabs: Vec<Tab> = ["a", "b", "c"].map(|identity| world.join("room", identity)).into();
    let tracks: Vec<Vec<TrackId>> =
        tabs.iter_mut().map(|tab| world.publish(tab, &[("mic", Microphone), ("cam", Camera)])).collect();
    let mut dan = world.join("room", "dan");
    world.pass(100);
    assert_eq!(only!(world.hear(dan.conn), ServerMessage::NeedSlots { audio, video } => (audio, video)), [(1, 3)]);
    world.offer(&mut dan, &[], 1, 1);
    assert_eq!(world.receives(&dan), BTreeSet::from([tracks[0][0], tracks[0][1]]), "first come");

    let item = |track, visible, prio| ViewItem { track, w: 0, h: 360, visible, prio };
    let items = vec![item(tracks[0][1], false, 9), item(tracks[1][1], true, 0), item(tracks[2][1], true, 1)];
    world.say(dan.conn, ClientMessage::View { items, limit_bps: None });
    world.pass(150);
    assert!(world.receives(&dan).contains(&tracks[2][1]), "visible, with the higher priority");

    for _ in 0..5 {
        world.media(Event::Levels { levels: vec![(tracks[1][0], talking(60))] });
        world.pass(300);
    }
    assert_eq!(world.receives(&dan), BTreeSet::from([tracks[1][0], tracks[2][1]]), "who speaks is heard");
    let speakers = only!(world.hear(dan.conn), ServerMessage::Speakers { speakers } => speakers);
    assert_eq!(speakers.last().map(|list| list.iter().map(|s| s.pid).collect()), Some(vec![tabs[1].pid]));
    world.check();
}

#[test]
fn who_is_passed_on_gets_a_slot_at_once_and_the_others_stay_where_they_are() {
    let mut world = World::with(1, |limits| limits.audio_slots = 3);
    let mut tabs: Vec<Tab> = (0..6).map(|n| world.join("room", &format!("p{n}"))).collect();
    let microphones: Vec<TrackId> = tabs.iter_mut().map(|tab| world.publish(tab, &[("mic", Microphone)])[0]).collect();
    let mut dan = world.join("room", "dan");
    world.follow(&mut dan);
    let bound = |world: &World| {
        let bindings = world.hub.members[&dan.pid].slots.bindings();
        bindings.filter_map(|(_, mid, track)| Some((track?, mid.to_owned()))).collect::<BTreeMap<_, _>>()
    };
    let before = bound(&world);
    assert_eq!(before.keys().copied().collect::<BTreeSet<_>>(), BTreeSet::from_iter(microphones[..3].iter().copied()));
    world.commands();
    let voices = |tracks: &[TrackId]| Event::Voices { shard: ShardId(0), room: RoomId::new("room"), tracks: tracks.to_vec() };
    world.media(voices(&[microphones[5], microphones[1]]));
    world.pass(0);
    let bind = only!(world.commands(), (_, Command::Bind { member, track, .. }) => (member, track));
    assert_eq!(bind, [(dan.pid, Some(microphones[5]))], "one goes for it, in the same place");
    let after = bound(&world);
    assert_eq!(after.get(&microphones[1]), before.get(&microphones[1]), "who is heard on stays");
    // Nobody new: nothing to bind. And a shard that knows no such room says nothing.
    world.media(voices(&[microphones[1]]));
    world.media(Event::Voices { shard: ShardId(9), room: RoomId::new("room"), tracks: microphones.clone() });
    world.pass(1_000);
    assert_eq!(bound(&world), after);
    world.check();
}

#[test]
fn slots_asked_for_stay_within_the_m_lines() {
    let mut world = World::new();
    for n in 0..60 {
        let mut tab = world.join("room", &format!("p{n}"));
        world.publish(&mut tab, &[("mic", Microphone), ("cam", Camera)]);
    }
    let mut late = world.join("room", "late");
    world.follow(&mut late);
    let asked = world.hub.members[&late.pid].asked;
    assert_eq!(asked, (24, 36), "64 m-lines, four kept for sending");
    assert_eq!(world.receives(&late).len(), 60);
    world.hear(late.conn);
    let mut more = world.join("room", "more");
    world.publish(&mut more, &[("mic", Microphone)]);
    world.pass(1_000);
    assert!(!world.hear(late.conn).iter().any(|m| matches!(m, ServerMessage::NeedSlots { .. })), "asked for once");
    world.check();
}

#[test]
fn a_subscription_can_be_left_out_or_made_by_hand() {
    let mut world = World::new();
    let mut ada = world.join("room", "ada");
    let ids = world.publish(&mut ada, &[("mic", Microphone), ("cam", Camera)]);
    let mut bob = world.join("room", "bob");
    world.follow(&mut bob);
    world.ask(&bob, ClientMessage::Subscribe { tracks: vec![ids[1]], on: false }).expect("known");
    world.pass(50);
    assert_eq!(world.receives(&bob), BTreeSet::from([ids[0]]));

    let conn = world.open();
    let opts = Options { auto_subscribe: false, adaptive: false };
    let token = signed(&claims("room", "cleo"));
    world.say(conn, ClientMessage::Hello { token, resume: None, client: None, opts });
    let mut cleo = world.tab(conn);
    world.offer(&mut cleo, &[], 2, 2);
    world.pass(500);
    assert!(world.receives(&cleo).is_empty());
    let unknown = ClientMessage::Subscribe { tracks: vec![ids[1], TrackId(1)], on: true };
    world.commands();
    assert_eq!(world.ask(&cleo, unknown), Err(ErrorCode::NotFound), "one of them");
    world.pass(50);
    assert_eq!(world.receives(&cleo), BTreeSet::from([ids[1]]));
    let views = only!(world.commands(), (_, Command::View { member, items }) => (member, items));
    assert_eq!(views.len(), 1);
    assert_eq!(
        (views[0].0, views[0].1[0].track, views[0].1[0].height.0),
        (cleo.pid, ids[1], u32::MAX),
        "not adaptive: the largest"
    );
    world.check();
}

#[test]
fn views_are_passed_on_ten_times_a_second_at_most_and_the_last_one_counts() {
    let mut world = World::new();
    let mut ada = world.join("room", "ada");
    let ids = world.publish(&mut ada, &[("cam", Camera)]);
    let bob = world.join("room", "bob");
    world.commands();
    let mut heights = Vec::new();
    for height in 1..=40 {
        let item = |track| ViewItem { track, w: 0, h: height, visible: true, prio: 3 };
        world.say(bob.conn, ClientMessage::View { items: vec![item(ids[0]), item(TrackId(5))], limit_bps: None });
        world.pass(10);
        for items in only!(world.commands(), (_, Command::View { items, .. }) => items) {
            assert_eq!(items.len(), 1, "tracks that are not there are left out");
            heights.push(items[0].height.0);
        }
    }
    world.pass(100);
    heights.extend(only!(world.commands(), (_, Command::View { items, .. }) => items[0].height.0));
    assert_eq!(heights.len(), 5, "{heights:?}");
    assert_eq!((heights[0], heights[4]), (1, 40));
}

#[test]
fn what_a_member_wants_at_most_is_told_its_shard_when_it_changes() {
    let mut world = World::new();
    let ada = world.join("room", "ada");
    world.commands();
    for limit_bps in [None, Some(300_000), Some(300_000), Some(0), None] {
        world.say(ada.conn, ClientMessage::View { items: Vec::new(), limit_bps });
    }
    let told = only!(world.commands(), (_, Command::Limit { member, rate }) => (member, rate.0));
    assert_eq!(told, [(ada.pid, 300_000), (ada.pid, 0), (ada.pid, u64::MAX)]);
}

#[test]
fn the_publisher_is_told_what_is_watched_and_the_receiver_what_it_gets() {
    let mut world = World::new();
    let mut ada = world.join("room", "ada");
    let ids = world.publish(&mut ada, &[("cam", Camera), ("mic", Microphone)]);
    let mut bob = world.join("room", "bob");
    world.follow(&mut bob);
    let watched = LayerSet::of(Layer(0)).with(Layer(2));
    for (track, layers) in [(ids[0], watched), (ids[0], watched), (ids[1], LayerSet::of(Layer(0))), (ids[0], LayerSet::EMPTY)] {
        world.media(Event::LayersWanted { track, layers });
    }
    let told = only!(world.hear(ada.conn), ServerMessage::Layers { track, active } => (track, active));
    let texts = |rids: &[&str]| rids.iter().map(|rid| (*rid).to_owned()).collect::<Vec<_>>();
    assert_eq!(told, [(ids[0], texts(&["q", "f"])), (ids[1], texts(&[""])), (ids[0], texts(&[]))]);

    world.hear(bob.conn);
    let less = StreamState::Forwarding { layer: Layer(0), short: Some(Reason::Bandwidth) };
    let whole = StreamState::Forwarding { layer: Layer(1), short: None };
    for state in [whole, less, StreamState::Paused(Reason::OffScreen)] {
        world.media(Event::StreamState { member: bob.pid, slot: Slot(1), track: ids[0], state });
    }
    let told =
        only!(world.hear(bob.conn), ServerMessage::StreamState { track, state, rid, reason } => (track, state, rid, reason));
    let (active, paused) = (StreamStateKind::Active, StreamStateKind::Paused);
    assert_eq!(
        told,
        [
            (ids[0], active, Some("h".into()), None),
            (ids[0], active, Some("q".into()), Some(StreamReason::Bandwidth)),
            (ids[0], paused, None, Some(StreamReason::OffScreen)),
        ]
    );
}

#[test]
fn mutes_reach_the_others_and_an_admin_can_mute_but_not_unmute() {
    let mut world = World::new();
    let mut ada = world.join("room", "ada");
    let ids = world.publish(&mut ada, &[("mic", Microphone), ("cam", Camera)]);
    let boss = world.join_with("boss", |claims| claims.video.room_admin = true);
    world.ask(&ada, ClientMessage::Mute { track: ids[1], muted: true }).expect("its own");
    assert_eq!(
        only!(world.hear(boss.conn), ServerMessage::TrackMuted { track, muted, .. } => (track, muted)),
        [(ids[1], true)]
    );
    assert_eq!(world.ask(&boss, ClientMessage::Mute { track: ids[1], muted: false }), Err(ErrorCode::NotFound));

    world.commands();
    world.ask(&boss, ClientMessage::Admin { op: AdminOp::Mute, target: ada.pid }).expect("an admin");
    assert_eq!(only!(world.commands(), (_, Command::Mute { track, muted }) => (track, muted)), [(ids[0], true)], "voices only");
    assert_eq!(only!(world.hear(ada.conn), ServerMessage::MuteRequest { track, by } => (track, by)), [(ids[0], boss.pid)]);
    world.ask(&ada, ClientMessage::Mute { track: ids[0], muted: false }).expect("it may");
    // What is muted is no speaker, however loud.
    world.ask(&ada, ClientMessage::Mute { track: ids[0], muted: true }).expect("it may");
    world.hear(boss.conn);
    world.media(Event::Levels { levels: vec![(ids[0], talking(100)), (TrackId(3), talking(100))] });
    world.pass(1_000);
    assert_eq!(only!(world.hear(boss.conn), ServerMessage::Speakers { speakers } => speakers).len(), 0);
}

#[test]
fn quality_is_told_when_it_changes_and_always_to_oneself() {
    let mut world = World::new();
    let (ada, bob) = (world.join("room", "ada"), world.join("room", "bob"));
    let good = measured(30, 0.0);
    let bad = measured(400, 0.2);
    let told = |world: &mut World, tab: &Tab| only!(world.hear(tab.conn), ServerMessage::Quality { peers } => peers.iter().map(|p| (p.pid, p.q)).collect::<Vec<_>>());
    world.media(Event::Quality { member: ada.pid, quality: good });
    world.media(Event::Quality { member: bob.pid, quality: good });
    world.pass(3_000);
    assert_eq!(told(&mut world, &ada), [[(ada.pid, QualityKind::Excellent), (bob.pid, QualityKind::Excellent)]]);
    told(&mut world, &bob);
    world.media(Event::Quality { member: ada.pid, quality: good });
    world.media(Event::Quality { member: bob.pid, quality: bad });
    world.pass(3_000);
    assert_eq!(told(&mut world, &ada), [[(bob.pid, QualityKind::Poor), (ada.pid, QualityKind::Excellent)]]);
    assert_eq!(told(&mut world, &bob), [[(bob.pid, QualityKind::Poor)]]);
    world.media(Event::IceDown { member: bob.pid });
    world.pass(3_000);
    assert_eq!(told(&mut world, &bob), [[(bob.pid, QualityKind::Lost)]]);
    world.pass(60_000);
    assert_eq!(told(&mut world, &bob), Vec::<Vec<_>>::new(), "no news is not told");
}

#[test]
fn pictures_that_stand_spoil_what_is_received_by_the_clients_own_word() {
    let mut world = World::new();
    let ada = world.join("room", "ada");
    let of = |world: &mut World| only!(world.hear(ada.conn), ServerMessage::Quality { peers } => (peers[0].q, peers[0].up, peers[0].down));
    let ping = |world: &mut World, frozen_ms| world.say(ada.conn, ClientMessage::Ping { ts: 0.0, rtt: None, frozen_ms });
    let mut quality = measured(30, 0.0);
    // Keyframe requests alone say little.
    quality.shown = Pictures { expected: 2, frozen: 0.1, ..Pictures::default() };
    world.media(Event::Quality { member: ada.pid, quality });
    world.pass(3_000);
    let [(QualityKind::Good, up, down)] = of(&mut world)[..] else { panic!() };
    assert!(up > 4.8 && down < 4.1, "{up} {down}");
    // The client knows better: nothing stood.
    ping(&mut world, Some(9_000.0));
    world.pass(5_000);
    ping(&mut world, Some(0.0));
    world.media(Event::Quality { member: ada.pid, quality });
    world.pass(3_000);
    assert!(matches!(of(&mut world)[..], [(QualityKind::Excellent, _, _)]));
    // Something stood for half of the time. A ping at once after says nothing.
    world.pass(2_000);
    ping(&mut world, Some(2_500.0));
    ping(&mut world, Some(0.0));
    world.media(Event::Quality { member: ada.pid, quality });
    world.pass(3_000);
    assert!(matches!(of(&mut world)[..], [(QualityKind::Poor, up, down)] if up > 4.8 && down < 3.2));
    // What it said is forgotten with time.
    world.pass(20_000);
    world.media(Event::Quality { member: ada.pid, quality });
    world.pass(3_000);
    assert!(matches!(of(&mut world)[..], [(QualityKind::Good, ..)]));
}

#[test]
fn who_asks_for_statistics_gets_its_own_once_and_not_too_often() {
    let mut world = World::new();
    let (ada, bob) = (world.join("room", "ada"), world.join("room", "bob"));
    world.commands();
    world.ask(&ada, ClientMessage::Stats {}).expect("granted");
    assert_eq!(only!(world.commands(), (_, Command::Stats { member }) => member), [ada.pid]);
    let stats = MemberStats { budget_bps: 7, ..MemberStats::default() };
    for member in [ada.pid, ada.pid, bob.pid] {
        world.media(Event::Stats { member, stats: stats.clone() });
    }
    assert_eq!(only!(world.hear(ada.conn), ServerMessage::Stats { stats } => stats.budget_bps), [7]);
    assert_eq!(only!(world.hear(bob.conn), ServerMessage::Stats { stats } => stats).len(), 0, "it did not ask");
    let refused = (0..20).filter(|_| world.ask(&ada, ClientMessage::Stats {}) == Err(ErrorCode::RateLimited)).count();
    assert!((14..20).contains(&refused), "{refused}");
}

#[test]
fn data_goes_to_those_who_may_have_it_and_no_faster_than_allowed() {
    let mut world = World::new();
    let (ada, bob) = (world.join("room", "ada"), world.join("room", "bob"));
    let deaf = world.join_with("deaf", |claims| claims.video.can_subscribe = Some(false));
    let silent = world.join_with("silent", |claims| claims.video.can_publish_data = Some(false));
    let elsewhere = world.join("other", "eve");
    for tab in [&ada, &bob, &deaf, &silent, &elsewhere] {
        world.connect(tab);
    }
    world.commands();
    let data = |member: MemberId, bytes: usize| Event::Data {
        member,
        label: "game".into(),
        binary: true,
        payload: vec![7; bytes].into(),
    };
    world.media(data(ada.pid, 3));
    let got = only!(world.commands(), (_, Command::Data { member, label, payload, .. }) => (member, label, payload.len()));
    assert_eq!(got, [(bob.pid, "game".into(), 3), (silent.pid, "game".into(), 3)]);
    world.media(data(silent.pid, 3));
    world.media(data(ada.pid, 64 * 1024 + 1));
    assert_eq!(world.commands().len(), 0);
    for _ in 0..1_000 {
        world.media(data(ada.pid, 3));
    }
    assert_eq!(world.commands().len(), 2 * 299, "the burst");
}

#[test]
fn a_slot_that_ends_carries_nothing_any_more() {
    let mut world = World::new();
    let (mut ada, mut bob) = (world.join("room", "ada"), world.join("room", "bob"));
    let ids = world.publish(&mut ada, &[("mic", Microphone), ("cam", Camera)]);
    world.follow(&mut bob);
    let carried = world.bound(&bob);
    assert_eq!(carried.iter().filter_map(|(_, track)| *track).collect::<Vec<_>>(), ids);
    // He sends on the m-line where he saw her; the shard hears of slots by their numbers only.
    bob.lines[1].1 = Some(published("1", "cam", Camera));
    world.commands();
    world.offer(&mut bob, &[], 0, 0);
    let binds = only!(world.commands(), (_, Command::Bind { slot, track, .. }) => (slot, track));
    assert_eq!(binds, [(carried[1].0, None)]);
    world.check();
}

#[test]
fn who_does_not_adapt_gets_the_largest_in_new_slots_too() {
    let mut world = World::new();
    let mut ada = world.join("room", "ada");
    let ids = world.publish(&mut ada, &[("cam", Camera)]);
    let conn = world.open();
    let opts = Options { auto_subscribe: true, adaptive: false };
    let token = signed(&claims("room", "bob"));
    world.say(conn, ClientMessage::Hello { token, resume: None, client: None, opts });
    let mut bob = world.tab(conn);
    world.follow(&mut bob);
    world.pass(1_000);
    let items = only!(world.commands(), (_, Command::View { items, .. }) => items);
    let last: Vec<_> = items.last().into_iter().flatten().map(|item| (item.track, item.height.0)).collect();
    assert_eq!(last, [(ids[0], u32::MAX)]);
}
