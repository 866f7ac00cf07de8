//! Several nodes in one virtual time: hubs with their clients, and messages between them that take a while, are lost, or do not
//! pass where the network is cut. Each client's screen is drawn from what it was told, and must never contradict itself.

use super::*;
use crate::cluster::{NodeInfo, Role, View};
use crate::edge::message::Chat;
use bytes::Bytes;
use rand::RngExt;

/// Neighbours notice a silent link after this.
const NOTICED_MS: u64 = 1_500;

/// The cascade's shard: after the two ordinary ones.
const CASCADE: ShardId = ShardId(2);

/// A cluster.
pub(super) struct Net {
    pub(super) worlds: Vec<World>,
    pub(super) up: Vec<bool>,
    incarnations: Vec<u64>,
    /// Nodes on one side reach each other.
    pub(super) sides: Vec<u8>,
    /// When the views are to follow the sides.
    noticed: Option<Instant>,
    flying: BTreeMap<(Instant, u64), Flying>,
    /// How many messages in a thousand are lost.
    pub(super) loss: u32,
    pub(super) now: Instant,
    start: Instant,
    rng: StdRng,
    pub(super) sent: u64,
    pub(super) bytes: u64,
    pub(super) limits: fn(&mut Limits),
    /// Which cores keep homes; all others are edges only.
    pub(super) cores: Vec<bool>,
    pub(super) draining: Vec<bool>,
}

struct Flying {
    from: usize,
    to: usize,
    room: RoomId,
    body: Bytes,
}

pub(super) fn name(node: usize) -> NodeId {
    NodeId::new(format!("n{node}"))
}

impl Net {
    pub(super) fn new(nodes: usize) -> Self {
        Self::with(nodes, 1, |_| {})
    }

    pub(super) fn with(nodes: usize, seed: u64, limits: fn(&mut Limits)) -> Self {
        let start = Instant::now();
        let mut net = Self {
            worlds: Vec::new(),
            up: vec![true; nodes],
            incarnations: vec![1; nodes],
            sides: vec![0; nodes],
            noticed: None,
            flying: BTreeMap::new(),
            loss: 0,
            now: start,
            start,
            rng: StdRng::seed_from_u64(seed),
            sent: 0,
            bytes: 0,
            limits,
            cores: vec![true; nodes],
            draining: vec![false; nodes],
        };
        for node in 0..nodes {
            let world = net.world(node);
            net.worlds.push(world);
        }
        net.tell_views();
        net
    }

    fn world(&self, node: usize) -> World {
        let mut limits = Limits::default();
        (self.limits)(&mut limits);
        let (id, region) = (name(node), format!("r{node}"));
        let mut world = World::at(id.as_str(), &region, 2, limits, Some(CASCADE), self.start);
        world.now = self.now;
        // Another run draws other secrets and ids.
        world.hub.rng = StdRng::seed_from_u64(self.incarnations[node] * 1_000 + node as u64);
        world
    }

    fn info(&self, node: usize) -> NodeInfo {
        NodeInfo {
            id: name(node),
            region: RegionId::new(format!("r{node}")),
            role: if self.cores[node] { Role::Both } else { Role::Edge },
            incarnation: self.incarnations[node],
            draining: self.draining[node],
            url: Some(format!("https://n{node}.example.org")),
            addr: None,
        }
    }

    /// Everybody learns whom it reaches now.
    pub(super) fn tell_views(&mut self) {
        self.noticed = None;
        for node in 0..self.worlds.len() {
            let reached = (0..self.worlds.len()).filter(|&other| self.reaches(node, other));
            let nodes = reached.map(|other| (name(other), self.info(other))).collect();
            let view = View { me: name(node), nodes: Arc::new(nodes) };
            if self.up[node] {
                self.on(node, |world| world.media(Event::Cluster { view }));
            }
        }
    }

    fn reaches(&self, from: usize, to: usize) -> bool {
        self.up[from] && self.up[to] && self.sides[from] == self.sides[to]
    }

    /// Does something at a node; what it sends is on its way.
    pub(super) fn on<T>(&mut self, node: usize, act: impl FnOnce(&mut World) -> T) -> T {
        let world = &mut self.worlds[node];
        world.now = self.now;
        let result = act(world);
        self.collect(node);
        result
    }

    fn collect(&mut self, from: usize) {
        for (shard, command) in self.worlds[from].commands() {
            let Command::Room { to, room, body } = command else {
                self.worlds[from].kept.push((shard, command));
                continue;
            };
            assert_eq!(shard, CASCADE);
            let to = to.as_str()[1..].parse().expect("a node's number");
            assert_ne!(from, to, "a message to oneself");
            assert!(body.len() <= 256 << 10, "{} bytes", body.len());
            self.sent += 1;
            self.bytes += body.len() as u64;
            if self.rng.random_range(0..1_000) < self.loss {
                continue;
            }
            // In order between two nodes; each pair has its own way.
            let ms = 5 + 23 * ((from * 7 + to * 13) % 5) as u64;
            let at = self.now + Duration::from_millis(ms);
            self.flying.insert((at, self.sent), Flying { from, to, room, body });
        }
    }

    /// Lets time pass everywhere.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        let mut rounds = 0;
        loop {
            let timers =
                (0..self.worlds.len()).filter(|&node| self.up[node]).filter_map(|node| self.worlds[node].hub.deadline());
            let flights = self.flying.keys().next().map(|(at, _)| *at);
            let next = timers.chain(flights).chain(self.noticed).min();
            let Some(at) = next.filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            rounds += 1;
            assert!(rounds < 500_000, "no rest");
            if self.noticed.is_some_and(|at| at <= self.now) {
                self.tell_views();
            }
            while let Some(entry) = self.flying.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let Flying { from, to, room, body } = entry.remove();
                if self.reaches(from, to) {
                    let event = Event::Room { from: name(from), room, body };
                    self.on(to, |world| world.media(event));
                }
            }
            for node in 0..self.worlds.len() {
                if self.up[node] {
                    self.on(node, |world| world.pass(0));
                }
            }
        }
        self.now = end;
        self.worlds.iter_mut().for_each(|world| world.now = end);
    }

    /// The network is cut, or mended; everybody notices a little later.
    pub(super) fn cut(&mut self, sides: &[u8]) {
        self.sides = sides.to_vec();
        self.noticed = Some(self.now + Duration::from_millis(NOTICED_MS));
    }

    /// A node dies with all its clients.
    pub(super) fn kill(&mut self, node: usize) {
        self.up[node] = false;
        self.worlds[node] = self.world(node);
        self.noticed = Some(self.now + Duration::from_millis(NOTICED_MS));
    }

    /// It is started again.
    pub(super) fn revive(&mut self, node: usize) {
        self.incarnations[node] += 1;
        self.up[node] = true;
        self.worlds[node] = self.world(node);
        self.noticed = Some(self.now + Duration::from_millis(NOTICED_MS));
    }

    pub(super) fn home(&self, room: &str) -> usize {
        let room = RoomId::new(room);
        let nodes = (0..self.worlds.len()).filter(|&node| self.up[node]).map(|node| (name(node), self.info(node)));
        let view = View { me: name(0), nodes: Arc::new(nodes.collect()) };
        view.home(&room).as_str()[1..].parse().expect("a node's number")
    }

    /// A room whose home is that node.
    pub(super) fn room_at(&self, node: usize) -> String {
        (0..).map(|n| format!("room-{n}")).find(|room| self.home(room) == node).expect("one of many")
    }

    /// Joins without asking for the answer; `None` if it was refused.
    pub(super) fn join(&mut self, node: usize, room: &str, identity: &str) -> Option<Tab> {
        let claims = claims(room, identity);
        self.join_as(node, &claims)
    }

    pub(super) fn join_as(&mut self, node: usize, claims: &Claims) -> Option<Tab> {
        self.on(node, |world| {
            let conn = world.open();
            world.say(conn, hello(claims));
            world.live.contains(&conn).then(|| world.tab(conn))
        })
    }

    /// What a client shows.
    pub(super) fn screen(&self, node: usize, tab: &Tab) -> Screen {
        let mut screen = Screen::default();
        for frame in self.worlds[node].heard.get(&tab.conn).into_iter().flatten() {
            screen.take(&frame.body);
        }
        screen
    }

    /// Who is in a room, as the nodes themselves know their own.
    pub(super) fn truth(&self, room: &str, side: u8) -> BTreeMap<MemberId, Tile> {
        let nodes = (0..self.worlds.len()).filter(|&node| self.up[node] && self.sides[node] == side);
        let mut all = BTreeMap::new();
        for node in nodes {
            let hub = &self.worlds[node].hub;
            let Some(room) = hub.rooms.get(&RoomId::new(room)) else { continue };
            for member in room.members.iter().map(|id| &hub.members[id]).filter(|member| !member.hidden()) {
                let tracks = room.tracks_of(member.id).iter().map(|track| (track.id, track.muted)).collect();
                let tile = Tile { node: name(node), name: member.name.clone(), hand: member.hand, away: member.away(), tracks };
                all.insert(member.id, tile);
            }
        }
        all
    }

    /// Every client that has its socket shows the room as it is.
    pub(super) fn agree(&self, room: &str) {
        for node in (0..self.worlds.len()).filter(|&node| self.up[node]) {
            let truth = self.truth(room, self.sides[node]);
            let world = &self.worlds[node];
            let Some(found) = world.hub.rooms.get(&RoomId::new(room)) else { continue };
            assert_eq!(found.count(), self.count(room, self.sides[node]), "{room} at n{node}");
            for id in &found.members {
                let Link::Online(conn) = world.hub.members[id].link else { continue };
                let mut screen = Screen::default();
                world.heard.get(&conn).into_iter().flatten().for_each(|frame| screen.take(&frame.body));
                let mut expected = truth.clone();
                expected.remove(id);
                assert_eq!(screen.peers, expected, "{room} at n{node} as {id} sees it");
            }
        }
    }

    fn count(&self, room: &str, side: u8) -> usize {
        let nodes = (0..self.worlds.len()).filter(|&node| self.up[node] && self.sides[node] == side);
        nodes.filter_map(|node| Some(self.worlds[node].hub.rooms.get(&RoomId::new(room))?.members.len())).sum()
    }

    /// What the nodes' tables and their cascades' shards must agree on.
    pub(super) fn check(&self) {
        for (node, world) in self.worlds.iter().enumerate().filter(|(node, _)| self.up[*node]) {
            world.check();
            let mut known: BTreeMap<TrackId, crate::edge::media::Origin> = BTreeMap::new();
            for (_, command) in world.kept.iter().filter(|(shard, _)| *shard == CASCADE) {
                match command {
                    Command::AddTrack { track } => {
                        assert!(known.insert(track.id, track.origin.clone()).is_none(), "added twice");
                    }
                    Command::RemoveTrack { track } => assert!(known.remove(track).is_some(), "n{node}: {track} was not there"),
                    _ => {}
                }
            }
            let tracks: BTreeSet<TrackId> = world.hub.tracks.keys().copied().collect();
            assert_eq!(known.keys().copied().collect::<BTreeSet<_>>(), tracks, "what the cascade of n{node} knows");
        }
    }
}

/// Another member as it is shown.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tile {
    pub(super) node: NodeId,
    pub(super) name: String,
    pub(super) hand: bool,
    pub(super) away: bool,
    pub(super) tracks: BTreeMap<TrackId, bool>,
}

/// What a client shows after all it was told.
#[derive(Debug, Default, Clone)]
pub(super) struct Screen {
    pub(super) peers: BTreeMap<MemberId, Tile>,
    pub(super) left: Vec<(MemberId, LeaveReason)>,
    pub(super) chat: Vec<Chat>,
    ids: BTreeSet<String>,
}

impl Screen {
    fn take(&mut self, message: &ServerMessage) {
        match message {
            ServerMessage::Welcome { peers, chat, .. } => {
                self.peers.clear();
                self.chat.clear();
                self.ids.clear();
                peers.iter().for_each(|peer| self.join(peer));
                chat.iter().for_each(|chat| self.say(chat));
            }
            ServerMessage::PeerJoined { peer } => self.join(peer),
            ServerMessage::PeerLeft { pid, reason } => {
                assert!(self.peers.remove(pid).is_some(), "{pid} left, and was not there");
                self.left.push((*pid, *reason));
            }
            ServerMessage::PeerUpdated { pid, name, hand, away, .. } => {
                if let Some(tile) = self.peers.get_mut(pid) {
                    (tile.name, tile.hand, tile.away) = (name.clone(), *hand, *away);
                }
            }
            ServerMessage::TrackAdded { pid, track } => {
                let tile = self.peers.get_mut(pid).expect("a track of somebody who is there");
                assert!(tile.tracks.insert(track.id, track.muted).is_none(), "added twice");
            }
            ServerMessage::TrackRemoved { pid, track } => {
                let tile = self.peers.get_mut(pid).expect("a track of somebody who is there");
                assert!(tile.tracks.remove(track).is_some(), "removed twice");
            }
            ServerMessage::TrackMuted { pid, track, muted } => {
                let tile = self.peers.get_mut(pid).expect("a track of somebody who is there");
                *tile.tracks.get_mut(track).expect("a track that is there") = *muted;
            }
            ServerMessage::Chat(chat) => self.say(chat),
            _ => {}
        }
    }

    fn join(&mut self, peer: &Peer) {
        let tracks = peer.tracks.iter().map(|track| (track.id, track.muted)).collect();
        let tile = Tile { node: peer.node.clone(), name: peer.name.clone(), hand: peer.hand, away: peer.away, tracks };
        assert!(self.peers.insert(peer.pid, tile).is_none(), "{} joined twice", peer.pid);
    }

    fn say(&mut self, chat: &Chat) {
        assert!(self.ids.insert(chat.id.clone()), "{chat:?} is shown twice");
        self.chat.push(chat.clone());
    }

    pub(super) fn texts(&self) -> Vec<&str> {
        self.chat.iter().map(|chat| chat.text.as_str()).collect()
    }
}
