//! The stores against real files and databases: one binary, so that the helpers compile once.

mod chain_crash;
mod chain_history;
mod chain_model;
mod chain_store;
mod ledger;
#[path = "../support/postgres.rs"]
mod postgres;
mod submissions;
