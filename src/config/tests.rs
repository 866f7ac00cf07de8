//! Stories about configuration: who wins, what is refused, and in which words.

use std::path::Path;

use super::*;

fn from_toml(text: &str) -> Result<Loaded, String> {
    let mut layers = Layers::default();
    layers.toml(Path::new("weir.toml"), text);
    layers.load().map_err(|mistakes| mistakes.to_string())
}

fn from_env(name: &str, text: &str) -> Result<Loaded, String> {
    let mut layers = Layers::default();
    layers.env([(name.to_owned(), text.to_owned())]);
    layers.load().map_err(|mistakes| mistakes.to_string())
}

#[test]
fn nothing_set_is_the_defaults() {
    let loaded = from_toml("").expect("defaults are sound");
    assert_eq!(loaded.config.media.udp_port, 7882);
    assert!(loaded.config.auth.keys.is_empty(), "no secret has a default");
    assert!(!loaded.config.dev);
    assert!(loaded.sources.is_empty());
}

#[test]
fn flags_win_over_variables_and_variables_over_the_file() {
    let mut layers = Layers::default();
    layers.toml(Path::new("weir.toml"), "[media]\nudp_port = 1000\ntcp_port = 1001\nshards = 3\n");
    layers
        .env([("WEIR_MEDIA__UDP_PORT".to_owned(), "2000".to_owned()), ("WEIR_MEDIA__TCP_PORT".to_owned(), "2001".to_owned())]);
    layers.flag("--udp-port", "media.udp_port", "3000");
    let loaded = layers.load().expect("all sound");
    assert_eq!((loaded.config.media.udp_port, loaded.config.media.tcp_port, loaded.config.media.shards), (3000, 2001, 3));
    assert_eq!(loaded.sources.get("media.udp_port"), Some(&Source::Flag("--udp-port".into())));
    assert_eq!(loaded.sources.get("media.tcp_port"), Some(&Source::Env("WEIR_MEDIA__TCP_PORT".into())));
    assert_eq!(loaded.sources.get("media.shards"), Some(&Source::File { path: "weir.toml".into(), line: 4 }));
}

#[test]
fn unknown_keys_name_their_line_and_the_nearest_key() {
    for (text, expected) in [
        ("[media]\nudp_prot = 1", "weir.toml:2: no such key: media.udp_prot; did you mean media.udp_port?"),
        ("udp_port = 1", "weir.toml:1: no such key: udp_port; did you mean media.udp_port?"),
        ("\n[medai]\nudp_port = 1", "weir.toml:2: no such key: medai; did you mean [media]?"),
        ("[http]\nudp_port = 1", "weir.toml:2: no such key: http.udp_port; did you mean media.udp_port?"),
        ("media = 3", "weir.toml:1: media is a section: write [media] and its keys below it"),
        ("[media]\nxylophone = 1", "weir.toml:2: no such key: media.xylophone; weir config print lists them all"),
    ] {
        assert_eq!(from_toml(text).expect_err(text), expected);
    }
}

#[test]
fn wrong_types_name_their_line_and_what_is_expected() {
    for (text, expected) in [
        ("[media]\nudp_port = \"x\"", "weir.toml:2: media.udp_port: expected a port number, 0 to 65535, found the text \"x\""),
        (
            "[media]\nudp_port = 70000",
            "weir.toml:2: media.udp_port: expected a port number, 0 to 65535, found the number 70000",
        ),
        ("[log]\nformat = \"xml\"", "weir.toml:2: log.format: expected \"text\" or \"json\", found the text \"xml\""),
        ("[media]\nadvertise = \"1.2.3.4\"", "found the text \"1.2.3.4\""),
        ("[media]\nadvertise = [\"1.2.3.4\", \"1.2.3\"]", "weir.toml:2: media.advertise: expected addresses such as"),
        ("[http]\norigins = [\"https://a.example/path\"]", "weir.toml:2: http.origins: expected origins"),
        ("[node]\nid = \"two words\"", "weir.toml:2: node.id: expected a name"),
        ("[media]\nudp_port = 99999999999999999999", "weir.toml:2: media.udp_port: the number is out of range"),
        ("[auth.keys]\na = 1", "weir.toml:2: auth.keys.a: expected a text in quotes"),
        ("[auth]\nkeys = 1", "weir.toml:2: auth.keys: expected a table"),
        ("[media\n", "weir.toml:1: not TOML: "),
    ] {
        let said = from_toml(text).expect_err(text);
        assert!(said.contains(expected), "{said}\nlacks\n{expected}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let said = from_toml("[media]\nudp_prot = 1\ntcp_port = -1\n[log]\nfromat = 1\n").expect_err("three mistakes");
    assert_eq!(said.lines().count(), 3, "{said}");
}

#[test]
fn mistakes_in_variables_and_flags_are_named_as_such() {
    assert_eq!(
        from_env("WEIR_MEDIA__UDP_PROT", "1").expect_err("unknown"),
        "environment WEIR_MEDIA__UDP_PROT: no such key: media.udp_prot; did you mean WEIR_MEDIA__UDP_PORT?"
    );
    assert_eq!(
        from_env("WEIR_MEDIA_UDP_PORT", "1").expect_err("one underscore"),
        "environment WEIR_MEDIA_UDP_PORT: no such key; two underscores follow the section: WEIR_MEDIA__UDP_PORT"
    );
    let said = from_env("WEIR_MEDIA__SHARDS", "many").expect_err("not a number");
    assert!(said.starts_with("environment WEIR_MEDIA__SHARDS: media.shards: expected a whole number"), "{said}");
    let mut layers = Layers::default();
    layers.flag("--set", "media.shrads", "2");
    let said = layers.load().map(drop).expect_err("unknown").to_string();
    assert_eq!(said, "flag --set: no such key: media.shrads; did you mean media.shards?");
}

#[test]
fn variables_that_an_orchestrator_sets_are_left_alone() {
    from_env("WEIR_PORT_8080_TCP_ADDR", "10.0.0.1").expect("not a key of ours");
    from_env("WEIR_SERVICE_HOST", "10.0.0.1").expect("not a key of ours");
}

#[test]
fn lists_and_entries_can_be_set_by_variables() {
    let loaded = from_env("WEIR_MEDIA__ADVERTISE", "203.0.113.7:40000, 2001:db8::1").expect("two addresses");
    let [mapped, plain] = loaded.config.media.advertise.as_slice() else { panic!("two addresses") };
    assert_eq!(mapped.udp(7882, 1), "203.0.113.7:40001".parse::<std::net::SocketAddr>().expect("address"));
    assert_eq!(plain.udp(7882, 1), "[2001:db8::1]:7883".parse::<std::net::SocketAddr>().expect("address"));
    let secret = "s".repeat(MIN_SECRET_BYTES);
    let loaded = from_env("WEIR_AUTH__KEYS__MyApp", &secret).expect("a key");
    assert_eq!(loaded.config.auth.keys.get("MyApp").map(Secret::expose), Some(secret.as_str()), "the name keeps its case");
}

#[test]
fn a_short_secret_is_refused_with_the_mend_and_never_repeated() {
    let said = from_toml("[auth.keys]\napp = \"hunter2\"\n").expect_err("too short");
    assert!(said.starts_with("weir.toml:2: auth.keys.app: the secret has 7 bytes"), "{said}");
    assert!(said.contains("weir token --generate-key") && !said.contains("hunter2"), "{said}");
}

#[test]
fn rules_between_keys_name_the_key_that_was_set() {
    let said = from_toml("[media]\nshards = 4\nudp_port = 65533\n").expect_err("ports end at 65535");
    assert!(said.starts_with("weir.toml:3: media.udp_port: 4 shards need"), "{said}");
    let said = from_toml("[admin]\nlisten = \"0.0.0.0:8080\"\n").expect_err("same address");
    assert!(said.starts_with("weir.toml:2: admin.listen: is the public listener's"), "{said}");
}

#[test]
fn what_is_printed_reads_back_and_hides_secrets() {
    let secret = "x".repeat(40);
    let text = format!(
        "[media]\nadvertise = [\"203.0.113.7:40000\"]\n[auth.keys]\napp = \"{secret}\"\n[log]\nfilter = \"info,weir=debug\"\n"
    );
    let printed = effective(&from_toml(&text).expect("sound"));
    assert!(!printed.contains(&secret), "{printed}");
    assert!(printed.contains("# keys.app = (secret)  # weir.toml:4"), "{printed}");
    assert!(printed.contains("udp_port = 7882  # default"), "{printed}");
    let again = from_toml(&printed).expect("printed configuration is valid");
    assert_eq!(again.config.media.advertise, from_toml(&text).expect("sound").config.media.advertise);
    assert_eq!(again.config.log.filter, "info,weir=debug");
    let debug = format!("{:?}", from_toml(&text).expect("sound").config);
    assert!(!debug.contains(&secret), "{debug}");
}

#[test]
fn every_key_says_what_it_is_for() {
    for key in Config::keys() {
        assert!(key.doc.concat().trim().len() > 10, "{}", key.path());
    }
}

#[test]
fn a_relay_is_off_until_it_has_a_place_to_listen_and_says_what_is_missing() {
    assert!(!from_toml("").expect("sound").config.turn.is_on());
    let on =
        "[turn]\nlisten = [\"0.0.0.0:3478\", \"[::]:3478\"]\nallow_peers = [\"10.1.0.0/16\"]\n[turn.users]\nphone = \"1234\"";
    let loaded = from_toml(on).expect("sound");
    assert!(loaded.config.turn.is_on() && loaded.config.turn.listen.len() == 2);
    for (text, expected) in [
        ("[turn]\nlisten = [\"3478\"]", "turn.listen: expected addresses and ports such as \"0.0.0.0:3478\""),
        ("[turn]\nlisten = [\"0.0.0.0:0\"]", "turn.listen: needs fixed ports"),
        ("[turn]\ntls_listen = [\"0.0.0.0:5349\"]", "turn.tls_cert: is needed"),
        ("[turn]\nhost = \"turn:x\"", "turn.host: must be a bare name"),
        ("[turn]\nsecret = \"short\"", "turn.secret: is too short"),
        ("[turn]\nsecret = 1234567890123456", "turn.secret: expected the secret as a text"),
        ("[turn]\nallow_peers = [\"10.0.0.0/33\"]", "turn.allow_peers: expected networks such as"),
        ("[turn]\nrelay_port_min = 9000\nrelay_port_max = 8999", "turn.relay_port_max: must not be below"),
        ("[turn]\nlisten = [\"0.0.0.0:3478\"]\nrelay_port_min = 7000", "turn.relay_port_min: the relayed ports include"),
        ("[turn.users]\na = \"\"", "turn.users.a: the password is empty"),
    ] {
        let said = from_toml(text).expect_err(text);
        assert!(said.contains(expected) && !said.contains("1234567890"), "{said}\nlacks\n{expected}");
    }
}

#[test]
fn the_relays_secret_is_never_printed() {
    let loaded = from_toml("[turn]\nsecret = \"north by north-west\"\n[turn.users]\nphone = \"hush\"").expect("sound");
    let shown = effective(&loaded);
    assert!(shown.contains("# secret = (secret)  # weir.toml:2") && shown.contains("# users.phone = (secret)"), "{shown}");
    assert!(!shown.contains("north") && !shown.contains("hush"));
    assert!(effective(&from_toml("").expect("sound")).contains("# secret: none"));
}

#[test]
fn the_examples_of_the_documentation_are_sound() {
    let page = include_str!("../../docs/turn.md");
    let examples: Vec<&str> = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 5);
    for example in examples {
        from_toml(example).unwrap_or_else(|mistakes| panic!("{example}\n{mistakes}"));
    }
}
