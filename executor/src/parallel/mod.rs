//! Executing a block on several threads: a leader in order, helpers ahead of it.
//!
//! The leader walks the transactions in their order and is the only one whose lane counts. A helper
//! executes transactions that the plan gave to it, ahead of the leader, on a lane of its own, and
//! hands over what each read and wrote. When the leader comes to such a transaction it compares
//! every value read with its own state: all equal, and it takes the result over, which costs a
//! fraction of executing; one different, and it executes the transaction itself, as it would have
//! without helpers. So the state after every transaction is that of sequential execution, whatever
//! the plan or the helpers did, and a wrong prediction costs at most the helper's time.
//!
//! The leader waits for a helper no longer than the transaction is expected to take, and then
//! executes it itself; at the end it waits until the helpers have dropped what they are at.

mod announced;
mod board;
mod forecast;
mod helper;
mod plan;
mod team;
pub(crate) mod threads;

pub(crate) use announced::Announced;
pub(crate) use board::{Guide, Lesson};
pub(crate) use forecast::{Forecast, calls_ns_max};
pub(crate) use plan::Plan;
pub(crate) use team::{Leader, Team};
