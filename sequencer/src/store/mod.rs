//! What the node keeps on disk: the chain with its state ([`chain`], on MDBX), the order log
//! ([`log`], plain files) and the rollup's ledger with L1 ([`ledger`], on SQLite or PostgreSQL).
//!
//! `kv` is the only file that knows MDBX and `ledger` the only one that knows SQL. Nothing here
//! executes a block, talks to L1 or serves a request.

pub mod chain;
mod directory_lock;
mod kv;
pub mod ledger;
pub mod log;
mod tables;

pub use chain::{ChainStore, ChainStoreError, ChainView, Head, StoredBlock};
pub use kv::KvError;
pub use ledger::{ChainIdentity, Ledger, LedgerError, PostingLock, lock_file};
