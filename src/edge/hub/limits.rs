//! What one node accepts, in one place, each with what raising it costs. Values only; `edge::hub` and `edge::signal` obey
//! them, the configuration may change the first group.

use std::time::Duration;

/// Bounds of rooms, sessions and messages.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Rooms at a time; a further join is `full`.
    pub rooms: usize,
    /// Members of one room. Everybody is told of everybody: work grows with its square.
    pub room_members: usize,
    /// Members of the node.
    pub members: usize,
    /// Who watch one room by WHEP with tokens of one identity, which may be given to a whole audience. Raising it lets whoever got hold of
    /// one token take more of what the room and the node may hold.
    pub token_viewers: usize,
    /// Open WebSockets, with those that have not said hello.
    pub sockets: usize,
    /// A room's members share a shard up to here, then the least loaded shard takes the next. Lower spreads the CPU of one
    /// room, higher saves copies between shards.
    pub room_members_per_shard: usize,

    /// One WebSocket message.
    pub frame_bytes: usize,
    pub chat_bytes: usize,
    /// Chat messages that a newcomer is told.
    pub chat_kept: usize,
    pub emoji_bytes: usize,
    /// A description and a candidate that go from browser to browser.
    pub peer_sdp_bytes: usize,
    pub peer_candidate_bytes: usize,
    /// Of an offer, as every answer repeats them.
    pub m_lines: usize,
    pub candidates: usize,
    /// Published by one member at a time.
    pub tracks: usize,
    /// Receive slots for audio that a client is asked for; who speaks gets one. A few more than are passed on at a time, so that a
    /// small room needs no binding anew.
    pub audio_slots: usize,
    pub attrs: usize,
    pub attr_bytes: usize,
    /// Of a client's own names: `cid`, `mid`, `rid`, a track's name.
    pub name_bytes: usize,
    /// Tracks in one `subscribe` or `view`.
    pub listed_tracks: usize,
    /// One data channel message.
    pub data_bytes: usize,
    /// Messages in a row that are none before a socket is closed.
    pub malformed: u32,
    /// Requests refused for their rate, without one granted between, before the member is removed.
    pub strikes: u32,

    /// Events kept for a resume, per session.
    pub ring_events: usize,
    pub ring_bytes: usize,
    /// Frames that wait for a slow reader before its socket is closed. More than `ring_events`: a resume sends them at once.
    pub socket_queue: usize,

    /// A socket must say `hello` within.
    pub hello: Duration,
    /// How long a session without a socket is held.
    pub resume: Duration,
    /// How often a client should `ping`.
    pub ping: Duration,
    /// Others are told of a lost socket after this: most come back sooner.
    pub away_after: Duration,
    /// A session whose socket and media are both silent is over after this; others must not see a dead tile for longer.
    pub crashed_after: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rooms: 10_000,
            room_members: 1_000,
            members: 10_000,
            token_viewers: 250,
            sockets: 20_000,
            room_members_per_shard: 50,
            frame_bytes: 256 * 1024,
            chat_bytes: 4 * 1024,
            chat_kept: 200,
            emoji_bytes: 32,
            peer_sdp_bytes: 64 * 1024,
            peer_candidate_bytes: 1024,
            m_lines: 64,
            candidates: 128,
            tracks: 12,
            audio_slots: 24,
            attrs: 16,
            attr_bytes: 512,
            name_bytes: 128,
            listed_tracks: 1_024,
            data_bytes: 64 * 1024,
            malformed: 10,
            strikes: 200,
            ring_events: 512,
            ring_bytes: 512 * 1024,
            socket_queue: 1_024,
            hello: Duration::from_secs(5),
            resume: Duration::from_secs(30),
            ping: Duration::from_secs(5),
            away_after: Duration::from_secs(2),
            crashed_after: Duration::from_secs(12),
        }
    }
}
