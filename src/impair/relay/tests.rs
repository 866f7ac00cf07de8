//! The relay between real sockets. Bounds are loose: the machine may be busy.

use tokio::time::timeout;

use super::*;

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);

fn delayed(delay_ms: f64) -> Impairment {
    Impairment { delay_ms, ..Impairment::default() }
}

fn relay(target: SocketAddr, impairments: [Impairment; 2]) -> Relay {
    Relay::start(ANY, target, impairments, 7).expect("loopback has room")
}

async fn socket() -> UdpSocket {
    UdpSocket::bind(ANY).await.expect("loopback has room")
}

/// A target that sends back what it gets.
fn echo(socket: UdpSocket) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut buffer = [0; 2_048];
        loop {
            if let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let _ = socket.send_to(&buffer[..length], from).await;
            }
        }
    })
}

async fn received(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 2_048];
    let length = timeout(PATIENCE, socket.recv(&mut buffer)).await.expect("something comes").expect("readable");
    buffer[..length].to_vec()
}

async fn echoing(impairments: [Impairment; 2]) -> (Relay, JoinHandle<()>) {
    let target = socket().await;
    let relay = relay(target.local_addr().expect("bound"), impairments);
    (relay, echo(target))
}

#[tokio::test]
async fn a_packet_takes_each_way_its_time() {
    let (relay, _echo) = echoing([delayed(60.0), delayed(30.0)]).await;
    let client = socket().await;
    let began = Instant::now();
    client.send_to(b"hello", relay.local_addr()).await.expect("sent");
    assert_eq!(received(&client).await, b"hello");
    assert!(began.elapsed() >= Duration::from_millis(90), "{:?}", began.elapsed());
    assert_eq!(relay.counters(), Counters { passed: 2, lost: 0, queued: 0 });
}

#[tokio::test]
async fn each_client_gets_its_own_replies() {
    let (relay, _echo) = echoing([Impairment::default(); 2]).await;
    let clients = [socket().await, socket().await, socket().await];
    for (number, client) in clients.iter().enumerate() {
        client.send_to(&[number as u8], relay.local_addr()).await.expect("sent");
    }
    for (number, client) in clients.iter().enumerate() {
        assert_eq!(received(client).await, [number as u8]);
    }
}

#[tokio::test]
async fn a_fast_stream_over_a_long_path_arrives_whole_and_in_order() {
    let target = socket().await;
    let relay = relay(target.local_addr().expect("bound"), [delayed(100.0), Impairment::default()]);
    let (client, address) = (socket().await, relay.local_addr());
    let sender = tokio::spawn(async move {
        // About 2,000 a second.
        for number in 0..1_000_u32 {
            client.send_to(&number.to_be_bytes(), address).await.expect("sent");
            if number % 4 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    for number in 0..1_000_u32 {
        assert_eq!(received(&target).await, number.to_be_bytes());
    }
    sender.await.expect("it sent all");
}

#[tokio::test]
async fn what_does_not_pass_is_counted() {
    let target = socket().await;
    let lossy = Impairment { loss: 0.5, ..Impairment::default() };
    let relay = relay(target.local_addr().expect("bound"), [lossy, Impairment::default()]);
    let client = socket().await;
    for _ in 0..1_000 {
        client.send_to(b"x", relay.local_addr()).await.expect("sent");
        // Lets the relay read: nothing is lost but what it loses.
        tokio::task::yield_now().await;
    }
    timeout(PATIENCE, async {
        while relay.counters().passed + relay.counters().lost < 1_000 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("each packet is counted");
    let Counters { passed, lost, .. } = relay.counters();
    assert!((400..=600).contains(&passed) && passed + lost == 1_000, "{passed} passed, {lost} lost");
}

#[tokio::test]
async fn a_path_is_changed_while_it_is_used() {
    let (relay, _echo) = echoing([Impairment { partition: true, ..Impairment::default() }, Impairment::default()]).await;
    let client = socket().await;
    client.send_to(b"lost", relay.local_addr()).await.expect("sent");
    timeout(PATIENCE, async {
        while relay.counters().lost == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the partition takes it");
    relay.set(Impairment::default(), Impairment::default());
    assert_eq!(relay.impairments(), [Impairment::default(); 2]);
    client.send_to(b"passed", relay.local_addr()).await.expect("sent");
    assert_eq!(received(&client).await, b"passed");
}

#[tokio::test]
async fn a_target_that_was_away_is_reached_when_it_is_back() {
    let target = socket().await;
    let address = target.local_addr().expect("bound");
    let relay = relay(address, [Impairment::default(); 2]);
    drop(target);
    let client = socket().await;
    for _ in 0..20 {
        client.send_to(b"refused", relay.local_addr()).await.expect("sent");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let _echo = echo(UdpSocket::bind(address).await.expect("it was free a moment ago"));
    client.send_to(b"back", relay.local_addr()).await.expect("sent");
    assert_eq!(received(&client).await, b"back");
}

#[tokio::test]
async fn more_clients_than_there_is_room_for_are_not_served() {
    let mut clients = FxHashMap::default();
    let (target, now) = (socket().await.local_addr().expect("bound"), Instant::now());
    let client = |number: usize| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), number as u16 + 1);
    assert!((0..CLIENTS).all(|number| admit(&mut clients, client(number), target, now)));
    assert!(!admit(&mut clients, client(CLIENTS), target, now));
    // The idle ones make room.
    assert!(admit(&mut clients, client(CLIENTS), target, now + IDLE));
    assert_eq!(clients.len(), 1);
}
