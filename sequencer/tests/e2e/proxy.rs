//! A way to a real L1 that can be broken: bytes go through, or break off, or wait.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// What becomes of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// They work.
    Open,
    /// They are closed, also those that are open.
    Cut,
    /// They stay, and nothing comes through.
    Silent,
}

/// The proxy; ends with its test.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    mode: watch::Sender<Mode>,
    connections: Arc<AtomicUsize>,
}

impl Proxy {
    /// In front of `target`.
    pub(crate) async fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, target) = (listener.local_addr().unwrap(), target.to_owned());
        let (mode, modes) = watch::channel(Mode::Open);
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                if *modes.borrow() == Mode::Open {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                tokio::spawn(carry(socket, target.clone(), modes.clone()));
            }
        });
        Self { address, mode, connections }
    }

    /// From now on.
    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Connections that were let through.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn carry(mut socket: TcpStream, target: String, mut modes: watch::Receiver<Mode>) {
    let mode = *modes.borrow_and_update();
    if mode == Mode::Open {
        let Ok(mut l1) = TcpStream::connect(target).await else { return };
        tokio::select! {
            _ = copy_bidirectional(&mut socket, &mut l1) => return,
            _ = modes.changed() => {}
        }
    }
    // Held until it is cut; what was silent once is never carried on.
    while *modes.borrow_and_update() == Mode::Silent && modes.changed().await.is_ok() {}
}
