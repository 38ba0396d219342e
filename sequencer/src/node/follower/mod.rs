//! The follower: a node that builds nothing. It derives the chain from L1 alone, keeps it in the chain
//! store, compares every output root that is claimed on L1, and serves JSON-RPC.
//!
//! Owns the wiring. Each task has one loop and one owner: deriving (the only one that adds blocks),
//! comparing outputs, keeping outputs and pruning, JSON-RPC. Serving waits for none of the others: what
//! is derived is served, however far behind L1 that is, and `/ready` says so.

mod deriving;
mod outputs;
mod status;

use super::{
    NodeChain, NodeError, Parts, audit, finish, fold, history, metrics::FollowerValues,
    source::StoreSource, stages, until, waiting,
};
use crate::{
    derived::Claims,
    metrics::Metrics,
    rpc::{RpcContext, RpcOptions, Sends, Upstream, serve},
    settings::Config,
    txpool::Pool,
};
use alloy::primitives::B256;
use deriving::Deriving;
use outputs::Comparing;
pub(super) use status::Status;
use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// A follower whose stores are open, whose L1 is checked and whose port is taken.
#[derive(Debug)]
pub struct Follower {
    config: Config,
    parts: Parts,
    sends: Sends,
}

impl Follower {
    /// Opens and checks everything. Nothing runs yet.
    ///
    /// # Errors
    /// [`NodeError`] naming what is missing or does not match.
    pub async fn open(config: Config) -> Result<Self, NodeError> {
        let sends = match &config.sequencer_url {
            None => Sends::Refused,
            Some(url) => {
                let upstream = Upstream::new(url.clone());
                Sends::Forwarded(upstream.map_err(|_| NodeError::SequencerClient)?)
            }
        };
        let parts = Parts::open(&config).await?;
        // Only who builds blocks keeps L1's in the ledger.
        if parts.ledger.l1_tip().await?.is_some() {
            let directory = config.data_dir.clone();
            return Err(NodeError::SequencersDirectory { directory });
        }
        Ok(Self { config, parts, sends })
    }

    /// Address that JSON-RPC listens on.
    ///
    /// # Errors
    /// [`io::Error`] of the operating system.
    pub fn rpc_address(&self) -> io::Result<SocketAddr> {
        self.parts.listener.local_addr()
    }

    /// Hash of the chain's head.
    #[must_use]
    pub fn head_hash(&self) -> B256 {
        self.parts.store.head().hash
    }

    /// Runs until `shutdown` is cancelled or a task fails.
    ///
    /// # Errors
    /// The [`NodeError`] of the first task that failed; the others are stopped then.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), NodeError> {
        let Self { config, parts, sends } = self;
        let Parts { genesis, store, ledger, client, archive, listener } = parts;
        audit::started(&ledger, store.head()).await;
        let mut tasks = JoinSet::<Result<(), NodeError>>::new();
        let status = Arc::new(Status::default());
        let source = Arc::new(StoreSource(store.clone()));

        let known = deriving::known_heads(&ledger, &source).await?;
        let (sender, heads) = watch::channel(known);
        let deriving = Deriving::new(
            (&genesis, &client),
            (store.clone(), ledger.clone(), source.clone()),
            status.clone(),
            sender,
            config.l1_poll,
        );
        tasks.spawn(until(shutdown.clone(), deriving.run()));
        let comparing = Comparing {
            claims: Claims::new(client.provider(), genesis.l1.outputs),
            store: store.clone(),
            source,
            status: status.clone(),
        };
        tasks.spawn(until(shutdown.clone(), comparing.run()));
        history::start((&config, &genesis, &store, &client), &mut tasks, &shutdown);
        let stages = stages::tell(store.clone(), heads.clone());
        tasks.spawn(until(shutdown.clone(), waiting(stages)));

        let values =
            FollowerValues { store: store.clone(), heads: heads.clone(), status: status.clone() };
        let chain = NodeChain::new(&genesis, store.clone(), heads, config.block_time).derived();
        // Nothing is ever added to it.
        let pool = Arc::new(Mutex::new(Pool::new(config.pool)));
        let mut metrics = Metrics::new();
        metrics.registry().register_collector(Box::new(values));
        let metrics = Arc::new(move || metrics.encode());
        let readiness = Arc::new(move || status.readiness());
        let clients = config.clients;
        let archive = Some(archive);
        let options =
            RpcOptions { readiness, clients, sends, archive, metrics, ..RpcOptions::default() };
        let context = Arc::new(RpcContext::new(chain, pool, options));
        let closing = shutdown.clone().cancelled_owned();
        tasks.spawn(async move {
            serve(listener, context, closing).await;
            Ok(())
        });

        let result = finish(&mut tasks, &shutdown).await;
        fold(store).await;
        audit::stopped(&ledger, &result).await;
        ledger.close().await;
        result
    }
}
