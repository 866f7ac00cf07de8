//! From an address, or a caller, to a link whose both ends have said hello: connecting, certificates, the control stream, the
//! exchange. Owns one attempt at a time, as a future; `quic::Links` polls it and decides which link of two is kept.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::{Connection, Endpoint, Incoming, ReadError, RecvStream, SendStream, VarInt};
use rustls::pki_types::CertificateDer;

use super::controller::Figures;
use super::dial::Due;
use super::{REFUSED, reason, transport};
use crate::cascade::link::session::{self, Established, Session};
use crate::cascade::tls::{Tls, server_name};
use crate::cascade::wire::{Decoder, Frame, Hello, Identity, OLDEST};
use crate::id::{NodeId, RegionId};
use crate::units::Bitrate;

/// For the transport's own handshake, addresses looked up included.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Bytes read at once while the hello is awaited.
const PIECE: usize = 4_096;

/// A connection whose neighbour is known and has said hello.
pub(super) struct Ready {
    pub connection: Connection,
    pub control: SendStream,
    pub incoming: RecvStream,
    /// May hold the beginning of what came after the hello.
    pub decoder: Decoder,
    pub established: Established,
    pub dialed: bool,
    pub figures: Arc<Figures>,
}

/// How an attempt ended.
pub(super) enum Outcome {
    Ready(Box<Ready>),
    DialFailed { node: NodeId, why: String },
    Refused { from: SocketAddr, why: String },
}

/// Who this node is, at the beginning of an attempt.
#[derive(Clone)]
pub(super) struct Me {
    pub hello: Hello,
    pub tls: Tls,
}

/// Dials a neighbour.
pub(super) async fn dial(endpoint: Endpoint, me: Me, due: Due, start: Bitrate) -> Outcome {
    let node = due.node.clone();
    match try_dial(endpoint, me, due, start).await {
        Ok(ready) => Outcome::Ready(Box::new(ready)),
        Err(why) => Outcome::DialFailed { node, why },
    }
}

async fn try_dial(endpoint: Endpoint, me: Me, due: Due, start: Bitrate) -> Result<Ready, String> {
    let figures = Arc::new(Figures::default());
    let config = transport::client(&me.tls, &figures, start).map_err(|why| why.to_string())?;
    let connect = async {
        let addr = resolve(&endpoint, &due.addr).await?;
        let name = server_name(Some(&due.node));
        let connecting = endpoint.connect_with(config, addr, &name).map_err(|why| why.to_string())?;
        connecting.await.map_err(|why| reason(&why))
    };
    let connection = tokio::time::timeout(CONNECT_WITHIN, connect).await;
    let connection = connection.map_err(|_| format!("no answer from {} within {CONNECT_WITHIN:?}", due.addr))??;
    let opened = connection.open_bi().await.map_err(|why| reason(&why));
    let (mut control, mut incoming) = opened?;
    let session = session(&connection, &me, Some((due.node, due.region)))?;
    say_hello(&mut control, &me.hello).await?;
    let (decoder, established) = hear_hello(&connection, &session, &mut incoming).await?;
    Ok(Ready { connection, control, incoming, decoder, established, dialed: true, figures })
}

async fn resolve(endpoint: &Endpoint, addr: &str) -> Result<SocketAddr, String> {
    let local = endpoint.local_addr().map_err(|why| why.to_string())?;
    let mut found = tokio::net::lookup_host(addr).await.map_err(|why| format!("{addr}: {why}; write host:port"))?;
    // A socket of one family cannot reach the other.
    let reached = found.find(|addr| addr.is_ipv4() == local.is_ipv4() || (local.is_ipv6() && addr.is_ipv4()));
    let reached = reached.ok_or_else(|| format!("{addr} has no address that a socket on {local} can reach"))?;
    match (reached, local) {
        (SocketAddr::V4(reached), SocketAddr::V6(_)) => Ok((reached.ip().to_ipv6_mapped(), reached.port()).into()),
        (reached, _) => Ok(reached),
    }
}

/// Accepts a caller.
pub(super) async fn accept(caller: Incoming, me: Me) -> Outcome {
    let from = caller.remote_address();
    match try_accept(caller, me).await {
        Ok(ready) => Outcome::Ready(Box::new(ready)),
        Err(why) => Outcome::Refused { from, why },
    }
}

async fn try_accept(caller: Incoming, me: Me) -> Result<Ready, String> {
    let figures = Arc::new(Figures::default());
    let config = transport::server(&me.tls, &figures).map_err(|why| why.to_string())?;
    let connecting = caller.accept_with(Arc::new(config)).map_err(|why| reason(&why))?;
    let connection = tokio::time::timeout(CONNECT_WITHIN, connecting).await;
    let connection = connection.map_err(|_| format!("its handshake took longer than {CONNECT_WITHIN:?}"))?;
    let connection = connection.map_err(|why| reason(&why))?;
    let session = session(&connection, &me, None)?;
    let accepted = tokio::time::timeout(session::WITHIN, connection.accept_bi()).await;
    let Ok(accepted) = accepted else { return Err(refuse(&connection, session::Refused::Late)) };
    let (mut control, mut incoming) = accepted.map_err(|why| reason(&why))?;
    let (decoder, established) = hear_hello(&connection, &session, &mut incoming).await?;
    say_hello(&mut control, &me.hello).await?;
    Ok(Ready { connection, control, incoming, decoder, established, dialed: false, figures })
}

/// Closes a connection that does not become a link, and says why.
fn refuse(connection: &Connection, why: session::Refused) -> String {
    let why = why.to_string();
    connection.close(VarInt::from_u32(REFUSED), why.as_bytes());
    why
}

fn session(connection: &Connection, me: &Me, dialed: Option<(NodeId, RegionId)>) -> Result<Session, String> {
    let certified = identity(connection, &me.tls).inspect_err(|why| {
        connection.close(VarInt::from_u32(REFUSED), why.as_bytes());
    })?;
    Ok(Session::new(Instant::now(), me.hello.node.id.clone(), certified, dialed))
}

/// Whom the neighbour's certificate names.
fn identity(connection: &Connection, tls: &Tls) -> Result<Identity, String> {
    let chain = connection.peer_identity().and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
    let leaf = chain.as_ref().and_then(|chain| chain.first()).ok_or("it showed no certificate")?;
    tls.identity_of(leaf).map_err(|why| why.to_string())
}

async fn say_hello(control: &mut SendStream, hello: &Hello) -> Result<(), String> {
    let mut bytes = Vec::new();
    Frame::Hello(hello.clone()).encode(OLDEST, &mut bytes).map_err(|why| why.to_string())?;
    // Above all media.
    let _ = control.set_priority(super::CONTROL_PRIORITY);
    control.write_all(&bytes).await.map_err(|why| why.to_string())
}

async fn hear_hello(
    connection: &Connection,
    session: &Session,
    incoming: &mut RecvStream,
) -> Result<(Decoder, Established), String> {
    let hear = async {
        let mut decoder = Decoder::default();
        loop {
            match decoder.next() {
                Some(Ok(frame)) => {
                    break session.begin(frame).map(|established| (decoder, established)).map_err(Unheard::Refused);
                }
                Some(Err(why)) => break Err(Unheard::Broken(why.to_string())),
                None => match incoming.read_chunk(PIECE, true).await {
                    Ok(Some(chunk)) => decoder.push(&chunk.bytes),
                    Ok(None) => break Err(Unheard::Broken("the control stream ended before the hello".into())),
                    Err(ReadError::ConnectionLost(why)) => break Err(Unheard::Lost(reason(&why))),
                    Err(why) => break Err(Unheard::Broken(why.to_string())),
                },
            }
        }
    };
    let until = tokio::time::Instant::from_std(session.deadline());
    let heard = tokio::time::timeout_at(until, hear).await.unwrap_or(Err(Unheard::Refused(session::Refused::Late)));
    heard.map_err(|unheard| match unheard {
        Unheard::Refused(why) => refuse(connection, why),
        Unheard::Broken(why) => {
            connection.close(VarInt::from_u32(REFUSED), why.as_bytes());
            why
        }
        Unheard::Lost(why) => why,
    })
}

enum Unheard {
    Refused(session::Refused),
    /// What came is no hello.
    Broken(String),
    /// The connection is over already.
    Lost(String),
}
