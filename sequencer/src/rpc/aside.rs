//! Threads of their own for connections that stay: WebSockets, streams.
//!
//! What such clients cause, subscribing and being told of every transaction, is theirs to wait for:
//! under floods these threads step back behind those that admit, build and answer. Owns the runtime;
//! knows nothing of what runs on it.

use super::lanes::step_back;
use std::{num::NonZeroUsize, thread};
use tokio::runtime::{Builder, Runtime};

/// Niceness of the threads: that of reads.
const NICE: i32 = 5;
/// Most threads.
const THREADS_MAX: usize = 8;

/// The runtime beside the server's. Without it, where no thread can be had, everything runs on that.
#[derive(Debug)]
pub(super) struct Aside(Option<Runtime>);

impl Aside {
    pub(super) fn start() -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let runtime = Builder::new_multi_thread()
            .worker_threads((cores / 2).clamp(1, THREADS_MAX))
            .thread_name("sockets")
            .on_thread_start(|| step_back(NICE))
            .enable_all()
            .build();
        if let Err(error) = &runtime {
            tracing::error!(%error, "sockets have no threads of their own");
        }
        Self(runtime.ok())
    }

    /// Runs a connection to its end.
    pub(super) async fn run(&self, connection: impl Future<Output = ()> + Send + 'static) {
        match &self.0 {
            // An error means that it panicked, which is told already, or that the server ends.
            Some(runtime) => drop(runtime.spawn(connection).await),
            None => connection.await,
        }
    }
}

impl Drop for Aside {
    /// May be on a thread of a runtime, which must not wait for another.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
