//! A room of a hundred whose microphones are all open, at real shards with real handshakes: one talks, and what each of the others
//! receives is counted. Signaling is played by the test: it binds slots as the shards ask.

#![allow(clippy::indexing_slicing)]

#[allow(dead_code)] // made for tests that use TCP too
#[path = "support/client.rs"]
mod client;
#[path = "support/node.rs"]
mod node;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use client::{Client, Wire};
use node::Shard;
use weir::edge::media::{Command, Event, Origin, TrackSpec};
use weir::edge::peer::Certificate;
use weir::edge::plan::{DtlsPlan, ExtensionIds, IceCredentials, IcePlan, MediaPlan, PayloadType, ReceivePlan, SendPlan, Slot};
use weir::id::{MemberId, RoomId, ShardId, TrackId};
use weir::rtp::header::{self, Header, Outgoing};
use weir::rtp::{AudioLevel, Codec, Extensions, HopOut, Kind, LayerInfo, Source};
use weir::shard::Inbox;

const MEMBERS: u64 = 100;
const SLOTS: u16 = 8;
/// Payload of a frame of speech, and of silence without DTX, at some 32 kbps and 16 kbps.
const SPEECH: usize = 80;
const SILENCE: usize = 40;

const IDS: ExtensionIds = ExtensionIds {
    mid: Some(1),
    transport_cc: Some(3),
    rid: None,
    repaired_rid: None,
    abs_send_time: None,
    audio_level: Some(6),
    orientation: None,
    playout_delay: None,
    dependency: None,
    capture_time: None,
    allow_mixed: false,
};

/// What one member received, by SSRC: packets, bytes with all headers, and when the first came.
#[derive(Debug, Default, Clone)]
struct Heard(BTreeMap<u32, (u64, u64, Instant)>);

fn plan(shard: usize, member: MemberId, client: &Certificate) -> MediaPlan {
    let credentials = |side: &str| IceCredentials {
        ufrag: format!("{shard:02x}{side}{:013x}", member.0),
        pwd: format!("{side}-password-of-member-{:08}", member.0),
    };
    let receive = ReceivePlan { mid: "0".into(), track: TrackId(member.0), kind: Kind::Audio, rids: vec![], ssrcs: vec![] };
    let send = |slot| SendPlan {
        slot: Slot(slot),
        mid: (slot + 1).to_string(),
        kind: Kind::Audio,
        ssrc: u32::from(slot) + 1,
        rtx_ssrc: None,
    };
    MediaPlan {
        ice: IcePlan { local: credentials("a"), remote: credentials("b") },
        dtls: DtlsPlan { we_are_client: false, fingerprints: vec![client.fingerprint()] },
        extensions: IDS,
        payload_types: vec![PayloadType { pt: 111, codec: Codec::Opus, rtx: None, fmtp: String::new() }],
        receive: vec![receive],
        send: (0..SLOTS).map(send).collect(),
        sctp: None,
    }
}

/// One member: sends a packet every 20 ms, loud while it talks, and counts what it receives.
async fn live(mut client: Client, member: u64, talks: Arc<Mutex<Option<u64>>>, heard: Arc<Mutex<Vec<Heard>>>) {
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    let mut check_at = Instant::now();
    let (mut seq, mut timestamp) = (0u16, member as u32 * 77_777);
    loop {
        tokio::select! {
            _ = pace.tick() => {
                let now = Instant::now();
                if now >= check_at {
                    check_at = now + Duration::from_secs(2);
                    let check = client::check(&client.ice);
                    client.wire.send(&check).await;
                }
                let loud = *talks.lock().expect("sound") == Some(member) && seq % 12 < 9;
                (seq, timestamp) = (seq.wrapping_add(1), timestamp.wrapping_add(960));
                let level = AudioLevel { voice: loud, dbov: if loud { 35 } else { 84 } };
                let ext = Extensions { audio_level: Some(level), ..Extensions::default() };
                let hop = HopOut { mid: Some(b"0"), transport_cc: Some(seq), ..HopOut::default() };
                let mut packet = Vec::new();
                header::write(&mut packet, &Outgoing { pt: 111, seq, timestamp, ssrc: 0x4000 + member as u32, marker: false }, &IDS, &ext, &hop);
                packet.resize(packet.len() + if loud { SPEECH } else { SILENCE }, 0x55);
                client.srtp.seal_rtp(&mut packet, 0).expect("connected");
                client.wire.send(&packet).await;
            }
            mut datagram = client.wire.receive() => {
                if !matches!(datagram[..], [128..=191, ..]) || matches!(datagram[1], 192..=223) {
                    continue;
                }
                let bytes = datagram.len() as u64 + 28;
                let length = client.srtp.open_rtp(&mut datagram).expect("sealed for this client, once");
                let header = Header::parse(&datagram[..length]).expect("an RTP packet");
                let mut heard = heard.lock().expect("sound");
                let entry = heard[member as usize].0.entry(header.ssrc).or_insert_with(|| (0, 0, Instant::now()));
                (entry.0, entry.1) = (entry.0 + 1, entry.1 + bytes);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_open_microphones_and_one_voice() {
    let certificate = Arc::new(Certificate::generate().expect("a certificate"));
    let clients = Arc::new(Certificate::generate().expect("a certificate"));
    let (shards, mut told) = node::shards(2, &certificate);
    let room = RoomId::new("room");
    let home = |member: u64| usize::from(member % 2 == 1);
    let talks = Arc::new(Mutex::new(None));
    let heard = Arc::new(Mutex::new(vec![Heard::default(); MEMBERS as usize]));
    let mut tasks = Vec::new();
    let mut bound: BTreeMap<u64, Vec<TrackId>> = BTreeMap::new();
    for member in 0..MEMBERS {
        let Shard { addr, commands, .. } = &shards[home(member)];
        let plan = plan(home(member), MemberId(member), &clients);
        commands.send(Command::AddPeer { member: MemberId(member), room: room.clone() }).await.expect("it runs");
        commands.send(Command::Configure { member: MemberId(member), plan: Box::new(plan.clone()) }).await.expect("it runs");
        let client = Client::connect(Wire::udp(*addr).await, &plan, Arc::clone(&clients), certificate.fingerprint()).await;
        tasks.push(tokio::spawn(live(client, member, Arc::clone(&talks), Arc::clone(&heard))));
        for (index, Shard { commands, .. }) in shards.iter().enumerate() {
            let origin = match home(member) == index {
                true => Origin::Member(MemberId(member)),
                false => Origin::Shard(ShardId(home(member) as u8)),
            };
            let track = TrackSpec {
                id: TrackId(member),
                room: room.clone(),
                kind: Kind::Audio,
                source: Source::Microphone,
                layers: vec![LayerInfo::default()],
                muted: false,
                origin,
            };
            commands.send(Command::AddTrack { track }).await.expect("it runs");
        }
    }
    for member in 0..MEMBERS {
        let tracks: Vec<TrackId> = (0..MEMBERS).filter(|&other| other != member).take(SLOTS.into()).map(TrackId).collect();
        for (slot, &track) in tracks.iter().enumerate() {
            let bind = Command::Bind { member: MemberId(member), slot: Slot(slot as u16), track: Some(track) };
            shards[home(member)].commands.send(bind).await.expect("it runs");
        }
        bound.insert(member, tracks);
    }
    // Signaling: whoever is passed on gets a slot of each member of that shard, and the first level is noted.
    let commands: Vec<_> = shards.iter().map(|shard| shard.commands.clone()).collect();
    let levels: Arc<Mutex<BTreeMap<TrackId, Instant>>> = Arc::default();
    let voices = Arc::clone(&levels);
    tasks.push(tokio::spawn(async move {
        while let Some((_, event)) = told.recv().await {
            match event {
                Event::Voices { shard, tracks, .. } => {
                    for (&member, slots) in bound.iter_mut().filter(|(member, _)| home(**member) == usize::from(shard.0)) {
                        for &track in tracks.iter().filter(|track| track.0 != member) {
                            if slots.contains(&track) {
                                continue;
                            }
                            let slot = slots.iter().position(|bound| !tracks.contains(bound)).expect("more slots than voices");
                            slots[slot] = track;
                            let bind = Command::Bind { member: MemberId(member), slot: Slot(slot as u16), track: Some(track) };
                            commands[usize::from(shard.0)].send(bind).await.expect("it runs");
                        }
                    }
                }
                Event::Levels { levels } => {
                    for (track, _) in levels.into_iter().filter(|(_, reading)| reading.voice) {
                        voices.lock().expect("sound").entry(track).or_insert_with(Instant::now);
                    }
                }
                _ => {}
            }
        }
    }));
    // Silence, until what began before everything was bound is over.
    tokio::time::sleep(Duration::from_secs(7)).await;
    let clear = || heard.lock().expect("sound").iter_mut().for_each(|heard| heard.0.clear());
    let total = |heard: &[Heard]| heard.iter().flat_map(|heard| heard.0.values()).map(|(packets, ..)| packets).sum::<u64>();
    clear();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let silence = total(&heard.lock().expect("sound"));

    // One whom nobody has a slot for.
    const SPEAKER: u64 = 77;
    clear();
    let began = Instant::now();
    *talks.lock().expect("sound") = Some(SPEAKER);
    const SECONDS: u64 = 6;
    tokio::time::sleep(Duration::from_secs(SECONDS)).await;
    let counted = heard.lock().expect("sound").clone();
    let known = levels.lock().expect("sound").get(&TrackId(SPEAKER)).map(|at| *at - began);
    let others = || counted.iter().zip(0..).filter(|&(_, member)| member != SPEAKER).map(|(heard, _)| heard);
    let streams: BTreeSet<usize> = others().map(|heard| heard.0.len()).collect();
    let bytes: Vec<u64> = others().map(|heard| heard.0.values().map(|(_, bytes, _)| bytes).sum()).collect();
    let kbps = |bytes: u64| bytes * 8 / 1_000 / SECONDS;
    let first = others().filter_map(|heard| heard.0.values().map(|(.., at)| *at - began).min()).max();
    println!(
        "{MEMBERS} open microphones, one talks: {streams:?} streams each, {} to {} kbps with all headers; heard by everybody after \
         {first:?}, told as a voice after {known:?}; in silence {silence} packets",
        kbps(*bytes.iter().min().expect("members")),
        kbps(*bytes.iter().max().expect("members")),
    );
    assert_eq!(silence, 0, "nobody has spoken yet");
    assert_eq!(streams, BTreeSet::from([1]));
    assert!(bytes.iter().all(|&bytes| (20..80).contains(&kbps(bytes))), "{bytes:?}");
    assert!(known.is_some_and(|known| known < Duration::from_secs(2)), "{known:?}");
    assert!(counted[SPEAKER as usize].0.is_empty(), "nobody hears himself");

    for task in tasks {
        task.abort();
    }
    for Shard { inbox, .. } in &shards {
        inbox.send(Inbox::Stop).await.expect("it runs");
    }
    let join = move || shards.into_iter().for_each(|shard| shard.handle.join());
    tokio::task::spawn_blocking(join).await.expect("every shard ends");
}
