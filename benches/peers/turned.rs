//! Two offers that meet become two answers: the client always offers, and so does Janus to those who watch. Both offer a voice and a
//! picture in this order, with the same payload types, so each side can be told what the other one offered, with roles that fit. Pure.

/// Attributes of transport and streams, which the other side has its own of.
const OWN: [&str; 10] = [
    "candidate:",
    "end-of-candidates",
    "ssrc:",
    "ssrc-group:",
    "msid:",
    "msid-semantic:",
    "ice-",
    "fingerprint:",
    "setup:",
    "simulcast:",
];

/// The answer for the server that made the first offer, and that for the client that made the second.
pub(crate) fn turned(servers: &str, clients: &str) -> Result<(String, String), String> {
    let own = |name: &str| {
        let found = clients.lines().find(|line| line.starts_with(name)).map(str::trim_end);
        found.ok_or_else(|| format!("the offer has no {name}"))
    };
    let transport = [own("a=ice-ufrag:")?, own("a=ice-pwd:")?, own("a=fingerprint:")?, "a=setup:active"];
    // Numbers of extensions are the offerer's: only those can be used that both offer under the same.
    let shared = |line: &str| !line.starts_with("a=extmap:") || clients.lines().any(|ours| ours.trim_end() == line);
    let (mut to_server, mut to_client) = (String::new(), String::new());
    for line in servers.lines().map(str::trim_end).filter(|line| shared(line)) {
        to_client.push_str(if line.starts_with("a=setup:") { "a=setup:passive" } else { line });
        to_client.push_str("\r\n");
        let attribute = line.strip_prefix("a=").unwrap_or_default();
        if OWN.iter().any(|name| attribute.starts_with(name)) {
            continue;
        }
        let line = if line == "a=sendonly" { "a=recvonly" } else { line };
        to_server.extend([line, "\r\n"]);
        if line.starts_with("a=mid:") {
            transport.iter().for_each(|line| to_server.extend([line, "\r\n"]));
        }
    }
    Ok((to_server, to_client))
}
