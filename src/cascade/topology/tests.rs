//! Documents, the errors they get by line, and the ways they lead to.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn id(text: &str) -> RegionId {
    RegionId::new(text)
}

fn sound(text: &str) -> (Topology, Vec<String>) {
    let (topology, warnings) = Topology::parse(text).unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"));
    (topology, warnings.iter().map(ToString::to_string).collect())
}

fn problems(text: &str) -> Vec<String> {
    Topology::parse(text).expect_err(text).iter().map(ToString::to_string).collect()
}

/// The head of a document, four lines of it, in front of what matters.
fn tree(rest: &str) -> String {
    format!("version = 1\nepoch = 12\nmode = \"tree\"\n\n{rest}")
}

fn mesh(rest: &str) -> String {
    tree(rest).replace("tree", "mesh")
}

const HUBS: &str = "\
link = [
  { from = 'fra', to = 'iad', rtt_ms = 90 },
  { from = 'mad', to = 'fra', rtt_ms = 28 },
  { from = 'mad', to = 'iad', rtt_ms = 95 },
]
region = [
  { id = 'fra', tier = 'hub', usd_gb = 0.02 },
  { id = 'iad', tier = 'hub', usd_gb = 0.02 },
  { id = 'mad', parents = ['fra', 'iad'], usd_gb = 0.05 },
]
";

fn way(topology: &Topology, from: &str, to: &str) -> Option<(u32, String)> {
    let (cost, way) = topology.region_path(&id(from), &id(to))?;
    Some((cost, way.iter().map(RegionId::as_str).collect::<Vec<_>>().join(" ")))
}

#[test]
fn a_link_costs_its_price_half_its_round_trip_and_the_penalty_of_a_backup() {
    let (topology, warnings) = sound(&tree(HUBS));
    assert_eq!(warnings, [""; 0]);
    let cost = |from, to| topology.cost(&id(from), &id(to));
    assert_eq!((cost("fra", "iad"), cost("iad", "fra")), (Some(20 + 45), Some(65)));
    assert_eq!((cost("mad", "fra"), cost("fra", "mad")), (Some(50 + 14), Some(20 + 14)), "the sender's price counts");
    assert_eq!((cost("mad", "iad"), cost("iad", "mad")), (Some(50 + 48 + 500), Some(20 + 48 + 500)), "halves round up");
    assert_eq!((cost("fra", "fra"), cost("fra", "nowhere")), (Some(0), None));
    assert_eq!((topology.rtt_ms(&id("iad"), &id("mad")), topology.rtt_ms(&id("mad"), &id("mad"))), (Some(95), Some(0)));
    assert_eq!((topology.epoch, topology.max_region_hops, topology.regions().len()), (12, 4, 3));
    assert_eq!(way(&topology, "mad", "iad"), Some((64 + 65, "mad fra iad".into())), "a backup is for when it is needed");
}

#[test]
fn weights_and_a_links_own_price_count() {
    let rest = HUBS.replace("rtt_ms = 28", "rtt_ms = 28, usd_gb = 0.1");
    let (topology, _) = sound(&tree(&format!("weights = {{ usd_gb = 2000, ms = 3, backup = 7 }}\n{rest}")));
    let cost = |from, to| topology.cost(&id(from), &id(to));
    assert_eq!((cost("mad", "fra"), cost("fra", "mad")), (Some(200 + 42), Some(242)), "one entry serves both directions");
    assert_eq!(cost("mad", "iad"), Some(100 + 143 + 7));
    let other = "  { from = 'fra', to = 'mad', rtt_ms = 28, usd_gb = 0.3 },\n]\nregion";
    let (topology, warnings) = sound(&tree(&rest.replacen("]\nregion", other, 1)));
    let cost = |from, to| topology.cost(&id(from), &id(to));
    assert_eq!((cost("mad", "fra"), cost("fra", "mad")), (Some(100 + 14), Some(300 + 14)), "unless the other is written too");
    assert_eq!(warnings, ["line 9: link mad–fra costs $0.1 a GB, and back $0.3; make sure that it is meant so"]);
}

#[test]
fn transit_through_a_backup_costs_the_penalty_twice_and_its_own_media_nothing_more_than_others() {
    let open = "region = [ { id = 'a' }, { id = 'b' }, { id = 'c' }, { id = 'd' } ]\n\
        link = [ { from = 'a', to = 'b', rtt_ms = 10 }, { from = 'b', to = 'c', rtt_ms = 10 },
                 { from = 'a', to = 'd', rtt_ms = 100 }, { from = 'd', to = 'c', rtt_ms = 100 } ]";
    assert_eq!(way(&sound(&tree(open)).0, "a", "c"), Some((10, "a b c".into())));
    let backup = open.replace("id = 'b'", "id = 'b', transit = 'backup'");
    let (topology, _) = sound(&tree(&backup));
    assert_eq!(way(&topology, "a", "c"), Some((100, "a d c".into())));
    assert_eq!(way(&topology, "a", "b"), Some((505, "a b".into())));
}

#[test]
fn in_a_mesh_all_may_link_and_places_give_what_is_not_written() {
    let (topology, warnings) = sound(&mesh(
        "region = [ { id = 'fra', geo = [50.11, 8.68] }, { id = 'iad', geo = [39.04, -77.49] }, { id = 'sin', geo = [1.35, 103.82] } ]
link = [ { from = 'sin', to = 'fra', rtt_ms = 160 } ]",
    ));
    assert_eq!(warnings, [""; 0]);
    let link = |from, to| *topology.link(&id(from), &id(to)).expect("all may link");
    assert_eq!((link("fra", "sin").rtt_ms, link("fra", "sin").estimated), (160, false));
    assert_eq!((link("fra", "iad").rtt_ms, link("fra", "iad").estimated), (98, true));
    assert_eq!(topology.links().count(), 6);
    assert!(topology.may_link(&id("iad"), &id("sin")) && !topology.may_link(&id("iad"), &id("mad")));
}

#[test]
fn a_single_region_needs_no_more_than_its_name() {
    let (topology, warnings) = sound("version = 1\nepoch = 1\nregion = [ { id = 'fra' } ]");
    assert_eq!((topology.regions().len(), topology.links().count(), warnings.len()), (1, 0, 0));
}

#[test]
fn each_mistake_is_told_by_line_with_its_mend() {
    let name = "a name in quotes: 1 to 63 characters a-z, 0-9, and inside also '-' and single dots, such as \"fra-1\"";
    for (text, expected) in [
        ("".into(), "line 1: the document lacks version; write version = 1"),
        ("version = 1\nepoch = ".into(), "line 2: not TOML: string values must be quoted, expected literal string"),
        (
            "version = 2\nepoch = 1\nregion = [{ id = 'a' }]".into(),
            "line 1: version 2 of the format is not known here; this weir reads version 1",
        ),
        (
            "version = 1\nregion = [{ id = 'a' }]".into(),
            "line 1: the document lacks epoch; write epoch = 1, and one more with each change",
        ),
        (
            "version = 1\nepoch = 0\nregion = [{ id = 'a' }]".into(),
            "line 2: the document: epoch is not a whole number from 1 up",
        ),
        ("version = 1\nepoch = 1".into(), "line 1: the document names no region; write region = [ { id = \"…\" } ]"),
        (
            "version = 1\nepoch = 1\nregion = [ { id = 'a' }, { id = 'b' } ]".into(),
            "line 1: the document lacks mode; write mode = \"tree\" or mode = \"mesh\"",
        ),
        (tree("region = [{ id = 'a' }]").replace("tree", "ring"), "line 3: the document: mode is not \"tree\" or \"mesh\""),
        (tree("regoin = 1\nregion = [{ id = 'a' }]"), "line 5: no such key: regoin; did you mean region?"),
        (tree("[[region]]\nid = 'a'\nprents = []"), "line 7: no such key: region.prents; did you mean parents?"),
        (
            tree("[[region]]\nid = 'a'\ncolour = 1"),
            "line 7: no such key: region.colour; there are id, tier, parents, usd_gb, transit, max_mbps, load_mbps, geo",
        ),
        (
            tree("region = 1"),
            "line 5: the document: region is not a list of tables: write region = [ { … }, { … } ], or [[region]] above each",
        ),
        (tree("[[region]]\ntier = 'hub'"), "line 5: a region lacks id; write id = \"…\""),
        (tree("[[region]]\nid = 'A b'"), &format!("line 6: region A b: id is not {name}")),
        (tree("[[region]]\nid = 'a'\nusd_gb = -1"), "line 7: region a: usd_gb is not a number from 0 to 100"),
        (tree("[[region]]\nid = 'a'\nusd_gb = nan"), "line 7: region a: usd_gb is not a number from 0 to 100"),
        (
            tree("[[region]]\nid = 'a'\ngeo = [91, 0]"),
            "line 7: region a: geo is not [latitude, longitude] in degrees, such as [50.11, 8.68]",
        ),
        (
            tree("[[region]]\nid = 'a'\nparents = 'b'"),
            "line 7: region a: parents is not a list of regions, such as [\"fra\", \"iad\"], the preferred one first",
        ),
        (
            tree("max_region_hops = 17\nregion = [{ id = 'a' }]"),
            "line 5: the document: max_region_hops is not a whole number from 1 to 16",
        ),
        (
            tree("weights = { usd = 1 }\nregion = [{ id = 'a' }]"),
            "line 5: no such key: weights.usd; there are usd_gb, ms, backup",
        ),
        (tree("[[region]]\nid = 'a'\n\n[[region]]\nid = 'a'"), "line 9: region a is there twice; rename or remove one"),
        (
            tree(&HUBS.replace("['fra', 'iad']", "['fra', 'idd']")),
            "line 13: region mad: its parent idd is no region; did you mean iad?",
        ),
        (
            tree(&HUBS.replace("['fra', 'iad']", "['fra', 'mad']")),
            "line 13: region mad is its own parent; name another region, or none for a hub",
        ),
        (
            tree(&HUBS.replace("['fra', 'iad']", "['fra', 'fra']")),
            "line 13: region mad: its parent fra is there twice; remove one",
        ),
        (
            tree(&HUBS.replace("parents = ['fra', 'iad']", "tier = 'leaf'")),
            "line 13: no root reaches region mad: it is a leaf without parents; give it parents = [\"…\"], or tier = \"hub\"",
        ),
        (
            tree(&HUBS.replace("'iad', tier = 'hub'", "'iad', tier = 'hub', parents = ['mad']")),
            "line 13: the parents go in a circle: iad → mad → iad; take one of them out: parents lead up to a hub without parents",
        ),
        (
            tree(&HUBS.replace("to = 'iad', rtt_ms = 90", "to = 'idd', rtt_ms = 90")),
            "line 6: link fra–idd: idd is no region; did you mean iad?",
        ),
        (
            tree(&HUBS.replace("to = 'iad', rtt_ms = 90", "to = 'fra', rtt_ms = 90")),
            "line 6: link fra–fra leads to its own region; nodes of one region are linked anyway; remove it",
        ),
        (tree(&HUBS.replace(", rtt_ms = 90", "")), "line 6: link fra–iad lacks rtt_ms; write rtt_ms = …, as ping measures it"),
        (
            tree(&HUBS.replace("from = 'mad', to = 'iad'", "from = 'mad', to = 'fra'")),
            "line 8: link mad–fra is there twice; remove one; the other direction is from the other end",
        ),
        (
            tree(&HUBS.replace("  { from = 'mad', to = 'iad', rtt_ms = 95 },\n", "")),
            "line 12: no round trip is known from mad to its parent iad; write link = { from = \"mad\", to = \"iad\", rtt_ms = … }",
        ),
        (
            tree(&HUBS.replace("['fra', 'iad']", "['fra']")),
            "line 8: link mad–iad joins a leaf to what is not its parent; in a tree children link to parents and hubs to hubs: add iad to the parents of mad, or write mode = \"mesh\"",
        ),
        (
            tree("region = [\n{ id = 'a' },\n{ id = 'b' } ]"),
            "line 7: no link leads from root a to root b; write link = { from = \"a\", to = \"b\", rtt_ms = … } with any hub that a reaches",
        ),
        (
            mesh(
                "region = [\n{ id = 'a', geo = [0, 0] },\n{ id = 'b' }, { id = 'c' }]\nlink = [{ from = 'c', to = 'b', rtt_ms = 9 }]",
            ),
            "line 6: no round trip is known from a to b, c; write link = { from = \"a\", to = \"b\", rtt_ms = … }, or geo = [lat, lon] for both",
        ),
        (
            tree(
                "max_region_hops = 2\nregion = [ { id = 'a' }, { id = 'b' }, { id = 'c' } ]\n\
                 link = [ { from = 'a', to = 'b', rtt_ms = 1 }, { from = 'b', to = 'c', rtt_ms = 1 } ]",
            ),
            "line 5: the shortest way from a to c passes 3 regions; max_region_hops allows 2; write max_region_hops = 3, or join them more closely",
        ),
        (
            tree(&format!("{HUBS}\n[[node]]\nid = 'n'\nregion = 'mda'\naddr = 'h:1'")),
            "line 18: node n: mda is no region; did you mean mad?",
        ),
        (
            tree(&format!("{HUBS}\n[[node]]\nid = 'n'\nregion = 'mad'\naddr = 'h'")),
            "line 19: node n: addr is not host:port, such as \"fra-1.example.org:7443\" or \"[2001:db8::1]:7443\"",
        ),
        (
            tree(&format!("{HUBS}\n[[node]]\nid = 'n'\nregion = 'mad'")),
            "line 16: node n lacks addr; write addr = \"host:port\", where neighbours dial it",
        ),
        (
            tree(&format!("{HUBS}\n[[node]]\nid = 'n'\nregion = 'mad'\naddr = 'h:1'\nrole = 'hub'")),
            "line 20: node n: role is not \"edge\" or \"core\" or \"both\"",
        ),
        (
            tree(&format!(
                "{HUBS}\n[[node]]\nid = 'n'\nregion = 'mad'\naddr = 'h:1'\n[[node]]\nid = 'n'\nregion = 'mad'\naddr = 'h:2'"
            )),
            "line 21: node n is there twice; rename or remove one",
        ),
        (
            tree(&format!(
                "{HUBS}\n[[node]]\nid = 'n'\nregion = 'mad'\naddr = 'h:1'\n[[node]]\nid = 'o'\nregion = 'mad'\naddr = 'h:1'"
            )),
            "line 21: nodes n and o have the same addr; give each its own",
        ),
    ] {
        let found = problems(&text);
        assert_eq!(found.first().map(String::as_str), Some(expected), "{found:#?}\n{text}");
    }
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_their_lines() {
    let text = tree("[[region]]\nid = 'a'\nusd = 1\n\n[[region]]\nid = 'b'\nparents = ['x']\ngeo = 3");
    let lines: Vec<_> = Topology::parse(&text).expect_err("three mistakes").iter().map(|p| (p.line, p.column)).collect();
    assert_eq!(lines, [(7, 1), (11, 12), (12, 7)]);
}

#[test]
fn many_mistakes_are_counted() {
    let keys: String = (0..200).map(|n| format!("key{n} = 1\n")).collect();
    let found = problems(&tree(&keys));
    assert_eq!((found.len(), found.last().map(String::as_str)), (51, Some("line 205: and 150 more")));
}

#[test]
fn warnings_name_what_deserves_a_second_look() {
    for (text, expected) in [
        (
            tree(&HUBS.replace("]\nregion", "  { from = 'iad', to = 'fra', rtt_ms = 95 },\n]\nregion")),
            &[
                "line 9: link fra–iad has a round trip of 90 ms, and back of 95 ms; a round trip is the same from both ends: keep one",
            ][..],
        ),
        (
            tree(&HUBS.replace("['fra', 'iad']", "['fra']").replace("  { from = 'mad', to = 'iad', rtt_ms = 95 },\n", "")),
            &[
                "line 11: iad is cut off if the link fra–iad is lost; link iad to another hub",
                "line 12: mad is cut off if region fra or the link fra–mad is lost; give mad another parent",
            ],
        ),
        (
            tree(
                &HUBS
                    .replace("usd_gb = 0.05", "usd_gb = 0.05, load_mbps = 300")
                    .replace("rtt_ms = 90", "rtt_ms = 90, max_mbps = 200"),
            ),
            &[
                "line 6: from fra to iad up to 300 Mbps are expected; the link carries 200; layers will be shed there: raise max_mbps, or spread the load",
            ],
        ),
        (
            tree(&HUBS.replace("'fra', tier = 'hub'", "'fra', max_mbps = 500, load_mbps = 300")),
            &[
                "line 11: region fra is expected to send up to 600 Mbps to others; it can send 500; raise max_mbps, or let it forward less",
            ],
        ),
        (
            tree(&format!(
                "{HUBS}node = [ {{ id = 'f', region = 'fra', addr = 'f:1' }}, {{ id = 'i', region = 'iad', addr = 'i:1', role = 'edge' }} ]"
            )),
            &[
                "line 12: region iad has edges only: cores link regions, so nothing links it to others; give one of its nodes role = \"both\"",
                "line 13: region mad has no node, though nodes are listed; list one, or remove the region",
            ],
        ),
        (
            mesh("region = [\n{ id = 'a', geo = [0, 0], tier = 'hub' },\n{ id = 'b', geo = [0, 1] } ]"),
            &[
                "line 6: region a: tier and parents mean nothing in a mesh; remove them, or write mode = \"tree\"",
                "line 7: b is cut off if the link a–b is lost; a third region would stand in",
            ],
        ),
        (
            mesh(
                "region = [ { id = 'a' },\n{ id = 'b' },\n{ id = 'c' } ]\nlink = [ { from = 'a', to = 'b', rtt_ms = 10 }, { from = 'b', to = 'c', rtt_ms = 10 }, { from = 'a', to = 'c', rtt_ms = 30, usd_gb = 0 }, { from = 'c', to = 'a', rtt_ms = 30, usd_gb = 0.001 }, { from = 'c', to = 'b', rtt_ms = 10, usd_gb = 0.02 } ]",
            ),
            &[
                "line 5: media take another way back: a → b → c, but c → a (and another pair); prices differ by direction; if that is not meant, write usd_gb for the link",
                "line 8: link a–c costs $0 a GB, and back $0.001; make sure that it is meant so",
                "line 8: link b–c costs $0 a GB, and back $0.02; make sure that it is meant so",
            ],
        ),
    ] {
        assert_eq!(sound(&text).1, expected, "{text}");
    }
}

#[test]
fn a_document_takes_anothers_place_only_if_its_epoch_grows() {
    let (old, new) = (sound(&tree(HUBS)).0, sound(&tree(HUBS).replace("12", "13")).0);
    assert_eq!(new.replaces(&old), Ok(()));
    assert_eq!(old.replaces(&new), Err(NotNewer { new: 12, old: 13 }));
    let said = old.replaces(&old).expect_err("it does not grow").to_string();
    assert_eq!(said, "epoch 12 does not grow: the document in use has 12; raise the epoch to at least 13");
    assert_eq!(new.replaces(&Topology::single()), Ok(()), "any document is newer than none");
}

#[test]
fn equal_ways_are_told_apart_by_hops_and_then_by_name() {
    let both = |a: &'static str, b: &'static str, cost| [(id(a), id(b), cost), (id(b), id(a), cost)];
    let costs = [both("a", "c", 5), both("c", "z", 5), both("a", "b", 5), both("b", "z", 5), both("a", "z", 11)];
    let topology = Topology::of_costs(1, costs.into_iter().flatten());
    assert_eq!(way(&topology, "a", "z"), Some((10, "a b z".into())));
    let topology = Topology::of_costs(1, both("a", "z", 10).into_iter().chain(both("a", "b", 5)).chain(both("b", "z", 5)));
    assert_eq!(way(&topology, "a", "z"), Some((10, "a z".into())));
    assert_eq!(way(&topology, "a", "a"), Some((0, "a".into())));
    assert_eq!((way(&topology, "a", "x"), way(&topology, "x", "x")), (None, None));
}

#[test]
fn what_is_too_large_is_refused() {
    let long = format!("{}#{}", tree("region = [{ id = 'a' }]\n"), "x".repeat(MAX_DOCUMENT));
    assert!(problems(&long)[0].contains("at most 261120 are read"), "{:?}", problems(&long));
    let regions: String = (0..=MAX_REGIONS).map(|n| format!("[[region]]\nid = 'r{n}'\ngeo = [0, {}]\n", n % 180)).collect();
    assert_eq!(problems(&mesh(&regions)), ["line 774: 257 regions; at most 256 are read"]);
    let parents: String = (0..=MAX_PARENTS).map(|n| format!("'p{n}', ")).collect();
    assert!(problems(&tree(&format!("[[region]]\nid = 'a'\nparents = [{parents}]")))[0].contains("more than 8 parents"));
    let nodes: String = (0..=MAX_NODES).map(|n| format!("{{ id = 'n{n}', region = 'a', addr = 'a:1' }},")).collect();
    assert!(problems(&tree(&format!("region = [{{ id = 'a' }}]\nnode = [{nodes}]")))[0].contains("at most 4096"));
}

#[test]
fn the_largest_document_still_fits_a_frame_and_the_highest_cost_its_bound() {
    let text = mesh(
        "weights = { usd_gb = 100000, ms = 1000, backup = 10000000 }\n\
         region = [ { id = 'a', usd_gb = 100, transit = 'backup' }, { id = 'b', transit = 'backup' } ]\n\
         link = [ { from = 'a', to = 'b', rtt_ms = 10000 } ]",
    );
    let (topology, _) = sound(&text);
    assert_eq!(topology.cost(&id("a"), &id("b")), Some(10_000_000 + 5_000_000 + 20_000_000));
    let frame = wire::Frame::Topology { text: "x".repeat(MAX_DOCUMENT) };
    assert!(postcard::to_stdvec(&frame).expect("it is written").len() <= wire::MAX_FRAME);
}

#[test]
fn the_largest_mesh_is_read_in_reasonable_time() {
    let regions: String = (0..MAX_REGIONS)
        .map(|n| {
            format!("[[region]]\nid = 'r{n}'\ngeo = [{}, {}]\nload_mbps = 1\n", n as i32 / 2 - 64, (n * 37) as i32 % 360 - 180)
        })
        .collect();
    let (topology, _) = sound(&mesh(&regions));
    assert_eq!(topology.links().count(), MAX_REGIONS * (MAX_REGIONS - 1));
}

#[test]
fn the_examples_are_sound_and_raise_no_warning() {
    for (text, regions, nodes) in [
        (include_str!("../../../cascade/dev.toml"), 3, 0),
        (include_str!("../../../cascade/three-region-mesh.toml"), 3, 0),
        (include_str!("../../../cascade/two-tier-tree.toml"), 3, 5),
    ] {
        let (topology, warnings) = sound(text);
        assert_eq!((topology.regions().len(), topology.nodes.len(), warnings), (regions, nodes, vec![]));
    }
    let (dev, _) = sound(include_str!("../../../cascade/dev.toml"));
    assert_eq!(way(&dev, "sin", "iad"), Some((170 + 65, "sin fra iad".into())));
    let rtts = [("fra", "iad"), ("fra", "sin"), ("iad", "sin")].map(|(from, to)| dev.rtt_ms(&id(from), &id(to)));
    assert_eq!(rtts, [Some(90), Some(160), Some(225)]);
}

proptest! {
    /// What a neighbour sends instead of a document is told to be none, whatever it is.
    #[test]
    fn damaged_documents_never_panic(at in 0_usize..600, bytes in "[\\[\\]{}='a-z0-9,.\\n\" ä]{0,12}", cut in 0_usize..40) {
        let mut text: Vec<char> = tree(&HUBS.replace("'fra', tier", "'fra', geo = [1, 2], max_mbps = 3, load_mbps = 9, tier")).chars().collect();
        let at = at.min(text.len());
        let end = (at + cut).min(text.len());
        text.splice(at..end, bytes.chars());
        let text: String = text.into_iter().collect();
        match Topology::parse(&text) {
            Ok((topology, _)) => prop_assert_eq!(topology.text, text),
            Err(problems) => prop_assert!(!problems.is_empty() && problems.iter().all(|p| p.line <= 1 + text.matches('\n').count())),
        }
    }

    /// Of all ways that the document allows, the one found is the cheapest, then the shortest, then the first by name.
    #[test]
    fn no_way_is_better_than_the_one_found(
        costs in proptest::collection::vec((0_u8..6, 0_u8..6, 0_u32..9), 0..24),
        max_region_hops in 1_u8..7,
    ) {
        let name = |n: u8| RegionId::new(format!("r{n}"));
        let costs = costs.into_iter().filter(|(a, b, _)| a != b).map(|(a, b, cost)| (name(a), name(b), cost));
        let topology = Topology { max_region_hops, ..Topology::of_costs(1, costs) };
        for from in topology.regions().map(|region| &region.id) {
            let mut best: BTreeMap<RegionId, (u32, usize, Vec<RegionId>)> = BTreeMap::new();
            let mut waiting = vec![(0, vec![from.clone()])];
            while let Some((cost, way)) = waiting.pop() {
                let at = way.last().expect("a way begins somewhere").clone();
                let found = (cost, way.len(), way.clone());
                best.entry(at.clone()).and_modify(|best| *best = found.clone().min(best.clone())).or_insert(found);
                if way.len() < usize::from(max_region_hops) {
                    let next = topology.links().filter(|(a, b, _)| **a == at && !way.contains(b));
                    waiting.extend(next.map(|(_, b, link)| (cost + link.cost, way.iter().chain([b]).cloned().collect())));
                }
            }
            for to in topology.regions().map(|region| &region.id) {
                let expected = best.get(to).map(|(cost, _, way)| (*cost, way.clone()));
                prop_assert_eq!(topology.region_path(from, to), expected);
            }
        }
    }
}
