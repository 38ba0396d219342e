//! The batcher as a process of its own: the poster and the proposer of a node, fed by a sequencer in
//! another process over its JSON-RPC.
//!
//! Owns opening, checking and stopping. It has a ledger and an archive of its own, so that either process
//! may be killed at any time: what is on L1 decides where each goes on. Seals nothing, executes nothing.

use super::{NodeError, RpcSource, audit, finish, health, metrics::PostingValues, posting};
use crate::{
    admin,
    l1_client::{ClientError, L1Client},
    metrics::Metrics,
    rpc::{Check, Readiness, Told, serve_status},
    settings::batcher::BatcherConfig,
    store::{ChainIdentity, ChainStoreError, Ledger, lock_file},
};
use batcher::{archive::PayloadArchive, control::Control, source::SourceError};
use executor::Genesis;
use std::{fs::File, io, net::SocketAddr, sync::Arc};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// A batcher whose ledger is open, whose L1 and sequencer are checked and whose ports are taken.
#[derive(Debug)]
pub struct Batcher {
    config: BatcherConfig,
    genesis: Genesis,
    ledger: Ledger,
    client: L1Client,
    archive: PayloadArchive,
    source: Arc<RpcSource>,
    listener: TcpListener,
    admin: Option<TcpListener>,
    _lock: File,
}

impl Batcher {
    /// Opens and checks everything. Nothing runs yet.
    ///
    /// # Errors
    /// [`NodeError`] naming what is missing or does not match.
    pub async fn open(config: BatcherConfig) -> Result<Self, NodeError> {
        let posting = &config.posting;
        let genesis = L1Client::read_genesis(&posting.genesis)?;
        let (_, _, genesis_hash) = genesis.build()?;
        if posting.chain_directory().exists() {
            return Err(NodeError::SequencerDirectory(posting.data_dir.clone()));
        }
        // First of all, so that a second one says this and not that a port is taken.
        std::fs::create_dir_all(&posting.data_dir).map_err(ChainStoreError::Directory)?;
        let lock = lock_file(&posting.data_dir.join("batcher.lock"))?;
        let listener = listen(config.listen).await?;
        let admin = admin::listen(&posting.process).await?;
        let archive = PayloadArchive::new(posting.data_dir.join("blobs"));
        let beacon = posting.l1_beacon_url.as_ref();
        let client = L1Client::connect(&posting.l1_rpc_urls, beacon, Some(archive.clone()))?;
        let client = client.with_archives(&posting.process.archive_urls)?;
        let url = &config.sequencer_url;
        let source = RpcSource::new(url, genesis_hash);
        let source = Arc::new(source.ok_or(NodeError::SequencerClient)?);
        // Before anything is written: a wrong genesis file must not leave its ledger behind.
        match client.check(&genesis).await {
            // One that has started goes on without L1 and catches up; a new one needs it.
            Err(ClientError::Unreachable(error)) if archive.directory().exists() => {
                tracing::warn!(%error, "L1 is unreachable; posting goes on once it is back");
            }
            checked => checked?,
        }
        match source.identify().await {
            Ok(()) => {}
            Err(SourceError(error)) => match error.downcast() {
                Ok(fault) => return Err(NodeError::Source(*fault)),
                Err(error) => {
                    tracing::warn!(%url, %error, "the sequencer does not answer yet; waiting for it");
                }
            },
        }
        archive.prepare()?;
        let identity = ChainIdentity { chain_id: genesis.rules.chain_id, genesis_hash };
        let ledger = Ledger::connect(&posting.ledger_url, &identity).await?;
        Ok(Self { config, genesis, ledger, client, archive, source, listener, admin, _lock: lock })
    }

    /// Address of the operator's endpoints.
    ///
    /// # Errors
    /// [`io::Error`] of the operating system.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Runs until `shutdown` is cancelled or a task fails.
    ///
    /// # Errors
    /// The [`NodeError`] of the first task that failed; the others are stopped then.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), NodeError> {
        let version = env!("CARGO_PKG_VERSION");
        let detail = format!("batcher version {version}, for {}", self.config.sequencer_url);
        audit::note(&self.ledger, "started", &detail).await;
        let control = Control::default();
        for task in posting::senders(&self.config.posting) {
            control.stepped(task, Some("starting".into()));
        }
        let mut running = JoinSet::new();
        let inputs = posting::Inputs {
            config: self.config.posting.clone(),
            genesis: self.genesis.clone(),
            client: self.client.clone(),
            ledger: self.ledger.clone(),
            source: self.source.clone(),
            control: control.clone(),
            lock: None,
        };
        let posting = posting::start(inputs, &mut running, &shutdown).await?;
        let heads = posting.heads.clone();
        let mut metrics = Metrics::new();
        let values = PostingValues { posting, control: control.clone() };
        metrics.registry().register_collector(Box::new(values));
        if let (Some(listener), Some(admin)) = (self.admin, &self.config.posting.process.admin) {
            let (ledger, source) = (self.ledger.clone(), self.source.clone());
            let (control, tasks) = (control.clone(), posting::senders(&self.config.posting));
            let operator =
                admin::Operator { control, heads, source, ledger, tasks, pausing: Arc::default() };
            running.spawn(admin::run(listener, operator, admin.token, shutdown.clone()));
        }
        let told = Told {
            archive: self.archive,
            readiness: Arc::new(move || readiness(&control)),
            metrics: Arc::new(move || metrics.encode()),
        };
        let listener = self.listener;
        let chain_id = self.genesis.rules.chain_id;
        let clients = self.config.posting.clients;
        let closing = shutdown.clone().cancelled_owned();
        running.spawn(async move {
            serve_status(listener, told, (chain_id, clients), closing).await;
            Ok(())
        });
        let result = finish(&mut running, &shutdown).await;
        audit::stopped(&self.ledger, &result).await;
        self.ledger.close().await;
        result
    }
}

/// Takes a port.
pub(super) async fn listen(address: SocketAddr) -> Result<TcpListener, NodeError> {
    TcpListener::bind(address).await.map_err(|error| NodeError::Listen { address, error })
}

/// Ready when nothing halted and no step is being tried again.
fn readiness(control: &Control) -> Readiness {
    let state = control.state();
    let mut checks = health::senders(control);
    let failing = state.failing.iter().map(|(task, error)| Check {
        name: task,
        ok: false,
        detail: error.clone(),
    });
    checks.extend(failing);
    let detail = if state.is_paused { "paused by an operator" } else { "nothing is paused" };
    checks.push(Check { name: "sending", ok: true, detail: detail.into() });
    Readiness { checks }
}
