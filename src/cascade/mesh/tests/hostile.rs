//! Neighbours that lie, flood and break the rules: one core with three links, of which one is theirs. It is closed or limited, the
//! tables stay within their bounds, and the others notice nothing.

use super::*;
use crate::cascade::mesh::children::MAX_PATH;
use crate::cascade::mesh::flood::MAX_LINKS;
use crate::cascade::mesh::nodes::{MAX_LISTED, MAX_NODES};
use crate::cascade::wire::{LinkMetrics, MAX_LIST, Neighbour, NodeState, RoomMessage, Subscribe};

/// Links of the core under test: to the publisher's node, to a child that works, to the one that does not.
const ORIGIN: LinkId = LinkId(1);
const CHILD: LinkId = LinkId(2);
const EVIL: LinkId = LinkId(3);

struct Core {
    mesh: Mesh,
    router: Router,
    now: Instant,
}

fn neighbours(names: impl IntoIterator<Item = String>) -> Vec<Neighbour> {
    names.into_iter().map(|name| Neighbour { node: NodeId::new(name), metrics: LinkMetrics::default() }).collect()
}

fn state(id: &str, role: Role, seq: u64, of: impl IntoIterator<Item = String>) -> NodeState {
    NodeState { node: info(id, "r", role), seq, epoch: 0, neighbours: neighbours(of) }
}

fn subscribe(id: u64, flow: u32, path: &[&str]) -> Subscribe {
    Subscribe {
        track: TrackInfo { id: TrackId(id), ..track("origin") },
        layers: LayerSet::of(Layer(0)),
        flows: vec![flow, 0],
        have: Vec::new(),
        path: path.iter().map(|name| NodeId::new(*name)).collect(),
        epoch: 0,
    }
}

fn path(names: &[&str]) -> Vec<NodeId> {
    names.iter().map(|name| NodeId::new(*name)).collect()
}

fn closed(out: &[Output], link: LinkId) -> Option<&str> {
    out.iter().find_map(|output| match output {
        Output::Close { link: closed, why } if *closed == link => Some(why.as_str()),
        _ => None,
    })
}

fn sent(out: &[Output], link: LinkId) -> Vec<&Frame> {
    out.iter()
        .filter_map(|output| match output {
            Output::Send { link: to, frame } if *to == link => Some(frame),
            _ => None,
        })
        .collect()
}

impl Core {
    /// Its child gets a track of the publisher's node by way of it.
    fn new() -> Self {
        let now = Instant::now();
        let mesh = Mesh::new(info("core", "r", Role::Core), Arc::new(Topology::single()), now, 3);
        let mut core = Self { mesh, router: Router::new(3), now };
        for (link, id, role) in [(ORIGIN, "origin", Role::Edge), (CHILD, "child", Role::Edge), (EVIL, "evil", Role::Core)] {
            let hello = Hello { versions: (1, VERSION), node: info(id, "r", role), epoch: 0 };
            core.input(Input::LinkUp { link, hello });
            core.say(link, Frame::State(state(id, role, 1, ["core".to_owned()])));
        }
        core.pass(200);
        let out = core.say(CHILD, Frame::Subscribe(subscribe(7, 5, &["child"])));
        assert!(sent(&out, ORIGIN).iter().any(|frame| matches!(frame, Frame::Subscribe(_))), "{out:?}");
        core.say(ORIGIN, Frame::Subscribed { track: TrackId(7), path: path(&["origin"]) });
        core.holds();
        core
    }

    fn input(&mut self, input: Input) -> Vec<Output> {
        let (mut queue, mut all) = (VecDeque::from([Event::Mesh(input)]), Vec::new());
        while let Some(event) = queue.pop_front() {
            let (mut done, mut fed) = (Vec::new(), Vec::new());
            match event {
                Event::Mesh(input) => self.mesh.handle(self.now, input, &mut done),
                Event::Router(input) => self.router.handle(self.now, input, &mut fed),
            }
            for output in fed {
                if let router::Output::Wanted { upstream: Upstream::Cascade, track, layers } = output {
                    queue.push_back(Event::Mesh(Input::Wanted { track, layers }));
                }
            }
            for output in done {
                match output {
                    Output::Router(input) => queue.push_back(Event::Router(input)),
                    other => all.push(other),
                }
            }
        }
        all
    }

    fn say(&mut self, link: LinkId, frame: Frame) -> Vec<Output> {
        self.input(Input::Frame { link, frame })
    }

    fn pass(&mut self, ms: u64) -> Vec<Output> {
        let mut all = Vec::new();
        for _ in 0..ms.div_ceil(10) {
            self.now += Duration::from_millis(10);
            all.extend(self.input(Input::Timeout));
            let mut fed = Vec::new();
            self.router.handle(self.now, router::Input::Timeout, &mut fed);
            for output in fed {
                if let router::Output::Wanted { upstream: Upstream::Cascade, track, layers } = output {
                    all.extend(self.input(Input::Wanted { track, layers }));
                }
            }
        }
        all
    }

    /// What those who work have of this node is as it was.
    fn holds(&self) {
        let [parent, next] = self.mesh.ways(TrackId(7));
        let parent = parent.expect("a parent");
        assert!(parent.node.as_str() == "origin" && parent.up && next.is_none(), "{parent:?}");
        assert_eq!(self.mesh.outflow(CHILD, TrackId(7), Layer(0)).map(|out| out.flow), Some(5));
        assert_eq!(self.mesh.neighbour(ORIGIN).map(NodeId::as_str), Some("origin"));
        assert_eq!(self.mesh.neighbour(CHILD).map(NodeId::as_str), Some("child"));
    }

    /// The rogue's link is closed for this, and only it.
    fn closes(&mut self, frame: Frame, why: &str) {
        let out = self.say(EVIL, frame);
        assert_eq!(closed(&out, EVIL), Some(why));
        assert!(closed(&out, CHILD).is_none() && closed(&out, ORIGIN).is_none());
        assert_eq!(self.mesh.neighbour(EVIL), None);
        self.holds();
    }
}

#[test]
fn invented_nodes_fill_no_more_than_their_table_and_end_the_link() {
    let mut core = Core::new();
    let mut ended = None;
    for at in 0..10_000_u32 {
        let out = core.say(EVIL, Frame::State(state(&format!("n{at}"), Role::Edge, 1, ["evil".to_owned()])));
        assert!(core.mesh.sizes().nodes <= MAX_NODES + MAX_LINKS);
        if let Some(why) = closed(&out, EVIL) {
            ended = Some(why.to_owned());
            break;
        }
    }
    assert_eq!(ended.as_deref(), Some("too many states"));
    assert_eq!(core.mesh.sizes().nodes, MAX_NODES);
    core.holds();
    // A neighbour that comes now is known nevertheless, and the invented are forgotten.
    let hello = Hello { versions: (1, VERSION), node: info("late", "r", Role::Edge), epoch: 0 };
    core.input(Input::LinkUp { link: LinkId(9), hello });
    core.say(LinkId(9), Frame::State(state("late", Role::Edge, 1, ["core".to_owned()])));
    core.pass(150);
    assert!(core.mesh.view().nodes.contains_key(&NodeId::new("late")));
    core.now += Duration::from_secs(70);
    for _ in 0..3 {
        core.now += Duration::from_secs(900);
        core.input(Input::Timeout);
    }
    assert_eq!(core.mesh.sizes().nodes, 3);
}

#[test]
fn endless_lists_of_neighbours_are_kept_up_to_a_bound() {
    let mut core = Core::new();
    for at in 0..2 * MAX_LISTED / MAX_LIST {
        let list = (0..MAX_LIST).map(|to| format!("n{at}-{to}"));
        core.say(EVIL, Frame::State(state(&format!("n{at:04}"), Role::Core, 1, list)));
    }
    let listed = core.mesh.sizes().listed;
    assert!(listed <= MAX_LISTED && listed > MAX_LISTED - 2 * MAX_LIST, "{listed}");
    core.pass(100);
    core.holds();
    let list = (0..=MAX_LIST).map(|to| format!("x{to}"));
    core.closes(Frame::State(state("x", Role::Core, 1, list)), "a state that nothing can follow");
}

#[test]
fn a_state_of_another_that_nothing_can_follow_ends_the_link_and_goes_no_further() {
    for last in [(u64::MAX, 1), (1, u64::MAX)] {
        let mut core = Core::new();
        let mut forged = state("child", Role::Edge, last.1, []);
        forged.node.incarnation = last.0;
        core.closes(Frame::State(forged), "a state that nothing can follow");
        let known = core.mesh.status(core.now).nodes.into_iter().find(|node| node.node.id.as_str() == "child");
        assert_eq!(known.map(|node| node.node.incarnation), Some(1));
    }
}

#[test]
fn a_state_of_this_node_is_answered_by_a_newer_one() {
    let mut core = Core::new();
    let out = core.say(EVIL, Frame::State(state("core", Role::Core, 1 << 40, [])));
    let out: Vec<Output> = out.into_iter().chain(core.pass(200)).collect();
    let own = |frame: &&Frame| matches!(frame, Frame::State(state) if state.node.id.as_str() == "core" && state.seq > 1 << 40);
    assert!([ORIGIN, CHILD, EVIL].iter().all(|link| sent(&out, *link).iter().any(own)));
    core.holds();
}

#[test]
fn a_link_of_our_own_name_or_an_earlier_run_is_closed_and_the_present_one_kept() {
    let mut core = Core::new();
    let hello = |id: &str, incarnation| {
        let node = NodeInfo { incarnation, ..info(id, "r", Role::Edge) };
        Hello { versions: (1, VERSION), node, epoch: 0 }
    };
    let out = core.input(Input::LinkUp { link: LinkId(9), hello: hello("core", 5) });
    assert_eq!(closed(&out, LinkId(9)), Some("a link to a node of our own name"));
    let out = core.input(Input::LinkUp { link: LinkId(10), hello: hello("child", 0) });
    assert_eq!(closed(&out, LinkId(10)), Some("of an earlier run of the node"));
    // What those links say meanwhile is nobody's.
    assert!(core.say(LinkId(9), Frame::Subscribe(subscribe(7, 1, &["core"]))).is_empty());
    core.holds();
    core.closes(Frame::Hello(hello("evil", 2)), "a second hello");
}

#[test]
fn subscriptions_that_no_neighbour_that_works_sends_end_the_link() {
    let wrong = |change: fn(&mut Subscribe), why| {
        let mut core = Core::new();
        let mut ask = subscribe(8, 1, &["evil"]);
        change(&mut ask);
        core.closes(Frame::Subscribe(ask), why);
    };
    wrong(|ask| ask.path = path(&["evil", "child"]), "a subscription on behalf of another");
    wrong(|ask| ask.path = Vec::new(), "a subscription on behalf of another");
    wrong(|ask| ask.flows = vec![1; 3], "a subscription with a wrong number of layers");
    wrong(|ask| ask.track.layers = Vec::new(), "a subscription with a wrong number of layers");
    wrong(|ask| ask.track.layers = vec![LayerInfo::default(); 9], "a subscription with a wrong number of layers");
    wrong(|ask| ask.layers = LayerSet::of(Layer(2)), "a subscription to a layer that is none");
    wrong(
        |ask| (ask.layers, ask.flows) = (LayerSet::of(Layer(0)).with(Layer(1)), vec![4, 4]),
        "a flow that carries something else",
    );
}

#[test]
fn a_flow_of_one_track_cannot_be_asked_for_another() {
    let mut core = Core::new();
    core.say(EVIL, Frame::Subscribe(subscribe(7, 1, &["evil"])));
    core.closes(Frame::Subscribe(subscribe(8, 1, &["evil"])), "a flow that carries something else");
    assert_eq!(core.mesh.sizes().children, 1);
}

#[test]
fn a_path_that_names_our_way_is_refused_and_takes_it_from_nobody() {
    let mut core = Core::new();
    for lie in [&["core", "evil"][..], &["origin", "evil"], &["n"; MAX_PATH], &["child", "core", "evil"]] {
        let lie: Vec<&str> = lie.iter().copied().take(MAX_PATH - 1).chain(["evil"]).collect();
        let out = core.say(EVIL, Frame::Subscribe(subscribe(7, 1, &lie)));
        assert!(
            matches!(sent(&out, EVIL)[..], [Frame::Refused { why: Refusal::Loop | Refusal::TooFar, .. }]),
            "{lie:?} {out:?}"
        );
        assert!(sent(&out, ORIGIN).is_empty(), "{lie:?} {out:?}");
        core.pass(11_000);
        core.holds();
    }
}

#[test]
fn a_flood_of_subscriptions_is_refused_and_leaves_nothing() {
    let mut core = Core::new();
    let (mut granted, mut full) = (0, 0);
    for at in 0..20_000_u32 {
        let out = core.say(EVIL, Frame::Subscribe(subscribe(100 + u64::from(at), at, &["evil"])));
        match sent(&out, EVIL).iter().find_map(|frame| if let Frame::Refused { why, .. } = frame { Some(*why) } else { None }) {
            Some(Refusal::Full) => full += 1,
            _ => granted += 1,
        }
    }
    assert!((8_192..9_000).contains(&granted) && granted + full == 20_000, "{granted} {full}");
    assert!(core.mesh.sizes().tracks <= granted + 1);
    core.holds();
    // The publisher's node knows none of them.
    for at in 0..20_000_u64 {
        core.say(ORIGIN, Frame::Refused { track: TrackId(100 + at), why: Refusal::NoTrack });
    }
    core.pass(45_000);
    assert_eq!((core.mesh.sizes().tracks, core.mesh.sizes().children), (1, 1));
    core.holds();
}

#[test]
fn asking_and_leaving_in_a_loop_draws_no_endless_flows() {
    let mut core = Core::new();
    for round in 0..20_000_u32 {
        core.say(EVIL, Frame::Subscribe(subscribe(8, round, &["evil"])));
        core.say(EVIL, Frame::Unsubscribe { track: TrackId(8) });
        core.say(EVIL, Frame::Unsubscribe { track: TrackId(7) });
        core.say(EVIL, Frame::Unsubscribe { track: TrackId(u64::from(round)) });
    }
    let sizes = core.mesh.sizes();
    assert!(sizes.tracks <= 2 && sizes.children == 1 && sizes.flows <= 8_192 + 1_000, "{sizes:?}");
    core.holds();
}

#[test]
fn answers_that_were_not_asked_for_change_nothing() {
    let mut core = Core::new();
    let out = core.say(EVIL, Frame::Subscribed { track: TrackId(7), path: path(&["evil", "origin"]) });
    assert!(matches!(sent(&out, EVIL)[..], [Frame::Unsubscribe { track: TrackId(7) }]));
    for why in [Refusal::NoTrack, Refusal::Loop, Refusal::Full] {
        assert!(core.say(EVIL, Frame::Refused { track: TrackId(7), why }).is_empty());
    }
    assert!(core.say(EVIL, Frame::Keyframe { track: TrackId(7), layer: Layer(0) }).is_empty());
    assert!(core.say(EVIL, Frame::Keyframe { track: TrackId(7), layer: Layer(200) }).is_empty());
    assert!(core.say(EVIL, Frame::Shed { flow: 5 }).is_empty());
    core.holds();
}

#[test]
fn packets_on_flows_that_carry_nothing_are_counted_and_dropped() {
    let mut core = Core::new();
    let before = core.mesh.sizes();
    for flow in [0, 5, u32::MAX] {
        let mut out = Vec::new();
        core.mesh.media(core.now, EVIL, flow, Bytes::from_static(&[0x80, 98, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 1]), &mut out);
        core.mesh.media(core.now, LinkId(77), flow, Bytes::new(), &mut out);
        assert!(out.is_empty());
    }
    assert_eq!((core.mesh.drops().unknown_flow, core.mesh.sizes()), (6, before));
    core.holds();
}

#[test]
fn ways_that_lead_through_us_or_never_end_are_given_up() {
    let long: Vec<String> = (0..MAX_LIST).map(|at| format!("n{at}")).collect();
    let endless: Vec<&str> = ["origin"].into_iter().chain(long.iter().skip(2).map(String::as_str)).chain(["origin"]).collect();
    for lie in [&["origin", "core", "origin"][..], &["evil", "origin"], &["origin", "evil"], &endless] {
        let mut core = Core::new();
        let out = core.say(ORIGIN, Frame::Subscribed { track: TrackId(7), path: path(lie) });
        assert!(sent(&out, ORIGIN).iter().any(|frame| matches!(frame, Frame::Unsubscribe { .. })), "{out:?}");
        let lost = |frame: &&Frame| matches!(frame, Frame::Subscribed { path, .. } if !path.is_empty());
        assert!(!sent(&out, CHILD).iter().any(lost), "{out:?}");
        assert_eq!(core.mesh.outflow(CHILD, TrackId(7), Layer(0)).map(|out| out.flow), Some(5));
        // It may have meant well: it is asked again.
        let out = core.pass(3_000);
        assert!(sent(&out, ORIGIN).iter().any(|frame| matches!(frame, Frame::Subscribe(_))), "{out:?}");
    }
}

#[test]
fn documents_in_a_loop_end_the_link() {
    let mut core = Core::new();
    for _ in 0..16 {
        let out = core.say(EVIL, Frame::Topology { text: "epoch 9".to_owned() });
        assert!(matches!(out[..], [Output::NewTopology { .. }]));
    }
    core.closes(Frame::Topology { text: "epoch 9".to_owned() }, "too many documents");
}

#[test]
fn rooms_that_talk_too_much_are_not_passed_on() {
    let mut core = Core::new();
    let message = |from: &str, to: &str, ttl, size| {
        let (from, to) = (NodeId::new(from), NodeId::new(to));
        Frame::Room(RoomMessage { from, to, room: RoomId::new("room"), ttl, body: vec![0; size].into() })
    };
    assert_eq!(sent(&core.say(EVIL, message("evil", "child", 255, 9)), CHILD).len(), 1);
    assert!(core.say(EVIL, message("core", "child", 9, 9)).is_empty(), "in our name");
    assert!(core.say(EVIL, message("evil", "evil", 9, 9)).is_empty(), "back to where it came from");
    assert!(core.say(EVIL, message("evil", "child", 0, 9)).is_empty(), "at its end");
    let passed = (0..1_000).filter(|_| !core.say(EVIL, message("evil", "child", 9, 100_000)).is_empty()).count();
    assert!((100..170).contains(&passed), "{passed}");
    // Another's budget is its own.
    assert_eq!(sent(&core.say(CHILD, message("child", "origin", 9, 100_000)), ORIGIN).len(), 1);
    core.holds();
}
