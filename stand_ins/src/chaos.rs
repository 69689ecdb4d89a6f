//! An unreliable network: a TCP proxy on the loopback interface that refuses, stalls, cuts or slows connections.
//!
//! Start at [`Chaos::before`] and control it with [`Chaos::set`], which also applies to open connections. It knows
//! nothing of HTTP; a response that is broken as HTTP is a [`crate::Reply`].

#![expect(clippy::unwrap_used, reason = "a test that goes wrong must stop")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};

/// The size of one read unless the mode slows it.
const PIECE: usize = 16 * 1024;

/// What the network does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mode {
    /// Everything passes.
    Pass,
    /// No one listens; open connections are reset.
    Refuse,
    /// Connections are accepted and stay open, and no bytes pass.
    Stall,
    /// A connection is reset when more than so many bytes of responses would pass over it: with 0, the request
    /// arrives and its response is lost.
    CutAfter(usize),
    /// Responses pass so many bytes at a time, with this pause before each.
    Slow(usize, Duration),
}

/// A running proxy. Dropping it closes its port and every connection.
pub struct Chaos {
    address: SocketAddr,
    orders: mpsc::UnboundedSender<Order>,
    connections: Arc<AtomicUsize>,
    runtime: Option<Runtime>,
}

struct Order {
    mode: Mode,
    done: std::sync::mpsc::Sender<()>,
}

impl Chaos {
    /// A proxy before the server of a URL; at first everything passes.
    pub fn before(url: &str) -> Chaos {
        let server = url.strip_prefix("http://").unwrap().parse().unwrap();
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (orders, received) = mpsc::unbounded_channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let guard = runtime.enter();
        // Bound but never listening, this socket reserves the port while connections are refused.
        let port = socket("127.0.0.1:0".parse().unwrap());
        let address = port.local_addr().unwrap();
        let listener = listen(address);
        drop(guard);
        let weather = watch::Sender::new(ModeState { mode: Mode::Pass, resets: 0 });
        let proxy = Proxy { _port: port, address, server, weather };
        runtime.spawn(proxy.run(listener, received, connections.clone()));
        Chaos { address, orders, connections, runtime: Some(runtime) }
    }

    /// Scheme, host and port of the proxy.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its port, for what is no HTTP.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Changes the mode. It applies to new connections when this returns.
    pub fn set(&self, mode: Mode) {
        let (done, finished) = std::sync::mpsc::channel();
        self.orders.send(Order { mode, done }).unwrap();
        finished.recv().unwrap();
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Chaos {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Proxy {
    _port: TcpSocket,
    address: SocketAddr,
    server: SocketAddr,
    weather: watch::Sender<ModeState>,
}

/// The mode, and how often connections were reset before it: a refusal that is over at once must still be felt.
#[derive(Clone, Copy)]
struct ModeState {
    mode: Mode,
    resets: usize,
}

impl Proxy {
    async fn run(
        self,
        listener: TcpListener,
        mut orders: mpsc::UnboundedReceiver<Order>,
        connections: Arc<AtomicUsize>,
    ) {
        let mut listener = Some(listener);
        loop {
            tokio::select! {
                order = orders.recv() => {
                    let Some(order) = order else { return };
                    listener = match order.mode {
                        Mode::Refuse => None,
                        _ => Some(listener.take().unwrap_or_else(|| listen(self.address))),
                    };
                    self.weather.send_modify(|weather| {
                        weather.mode = order.mode;
                        weather.resets += usize::from(order.mode == Mode::Refuse);
                    });
                    // The test that set the mode may have ended.
                    let _ = order.done.send(());
                }
                stream = accept(listener.as_ref()) => {
                    connections.fetch_add(1, Ordering::SeqCst);
                    let resets = self.weather.borrow().resets;
                    tokio::spawn(relay(stream, self.server, self.weather.subscribe(), resets));
                }
            }
        }
    }
}

fn socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

fn listen(address: SocketAddr) -> TcpListener {
    socket(address).listen(1024).unwrap()
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    match listener {
        Some(listener) => listener.accept().await.unwrap().0,
        None => std::future::pending().await,
    }
}

/// Carries bytes both ways until one side ends or the network breaks.
async fn relay(
    mut client: TcpStream,
    server: SocketAddr,
    weather: watch::Receiver<ModeState>,
    resets: usize,
) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let sound = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::select! {
            sound = pump(from_client, to_server, weather.clone(), resets, false) => sound,
            sound = pump(from_server, to_client, weather, resets, true) => sound,
        }
    };
    if !sound {
        // Closing a socket that must not linger sends RST instead of FIN.
        let _ = client.set_zero_linger();
    }
}

/// Carries bytes one way; returns whether it ended because its source did.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut weather: watch::Receiver<ModeState>,
    resets: usize,
    answers: bool,
) -> bool {
    let mut buffer = vec![0; PIECE];
    let mut passed = 0;
    loop {
        let now = *weather.borrow_and_update();
        if now.resets > resets {
            return false;
        }
        let (mut piece, mut allowed) = (PIECE, usize::MAX);
        match now.mode {
            Mode::Stall => {
                if weather.changed().await.is_err() {
                    return false;
                }
                continue;
            }
            Mode::CutAfter(bytes) if answers => allowed = bytes.saturating_sub(passed),
            Mode::Slow(bytes, pause) if answers => {
                tokio::time::sleep(pause).await;
                piece = bytes.min(PIECE);
            }
            _ => {}
        }
        tokio::select! {
            _ = weather.changed() => {}
            read = from.read(&mut buffer[..piece]) => {
                let Ok(read) = read else { return false };
                if read == 0 {
                    return true;
                }
                passed += read;
                if to.write_all(&buffer[..read.min(allowed)]).await.is_err() || read > allowed {
                    return false;
                }
            }
        }
    }
}
