//! The admission stage: decoded transactions go in, and are recovered, checked against the newest
//! state and added to the pool by a few threads of its own.
//!
//! A thread takes what waits, up to a bound, and recovers it together; one that comes alone is taken
//! at once, there is no timer. Threads recover at the same time and add in the order of arrival, so
//! that first come is first served and a batch of one sender leaves no gaps. Decides nothing about a
//! transaction: [`crate::txpool`] does.

use super::{
    chain::Chain,
    error::{Limit, RpcError},
    feed::Feed,
};
use crate::{
    pressure::Gauge,
    txpool::{AccountState, AddError, Added, Journal, Pool, Submission, Terms},
};
use executor::{FeeSchedule, Unrecovered, recover};
use std::{
    collections::VecDeque,
    num::NonZeroUsize,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Instant,
};
use tokio::sync::{Notify, oneshot};

/// Transactions that wait for a thread. At about 30 us each one thread works this off in half a
/// second: longer waits would answer nobody any better. More are refused as "server busy".
const WAITING_MAX: usize = 16_384;
/// Their raw bytes together; same consequence. A flood of the longest transactions must not take
/// gigabytes.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// Transactions that a thread takes at once: some milliseconds of work, and a multiple of what a
/// vector unit could recover together.
const BATCH_MAX: usize = 64;
/// Most threads. Half of the cores, for the builder needs the others; beyond eight, the pool's lock
/// is what they would wait for.
const THREADS_MAX: usize = 8;

type Reply = Result<Added, RpcError>;

/// A transaction that waits, and who waits for it.
#[derive(Debug)]
struct Job {
    transaction: Unrecovered,
    terms: Option<Arc<Terms>>,
    answer: oneshot::Sender<Reply>,
}

#[derive(Debug, Default)]
struct Line {
    jobs: VecDeque<Job>,
    bytes: usize,
    /// Batches taken so far: the number of the next.
    batches: u64,
    is_closed: bool,
}

#[derive(Debug, Default)]
struct Shared {
    line: Mutex<Line>,
    came: Condvar,
    /// Number of the batch that may add to the pool.
    turn: Mutex<u64>,
    turned: Condvar,
}

/// The place of a batch in the order of arrival. Passes on when dropped, also by a panic.
struct Turn<'s> {
    shared: &'s Shared,
    number: u64,
}

impl Turn<'_> {
    /// Waits until all batches before this one are done.
    fn wait(&self) -> MutexGuard<'_, u64> {
        let others = |turn: &mut u64| *turn != self.number;
        let turn = self.shared.turned.wait_while(lock(&self.shared.turn), others);
        turn.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.wait() += 1;
        self.shared.turned.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Waits for transactions. Each of `threads` leaves the others their part of what waits.
    fn take(&self, threads: usize) -> Option<(Turn<'_>, Vec<Job>)> {
        let line = lock(&self.line);
        let idle = |line: &mut Line| line.jobs.is_empty() && !line.is_closed;
        let mut line = self.came.wait_while(line, idle).unwrap_or_else(PoisonError::into_inner);
        if line.is_closed {
            return None;
        }
        let count = line.jobs.len().div_ceil(threads).min(BATCH_MAX);
        let jobs: Vec<Job> = line.jobs.drain(..count).collect();
        line.bytes -= jobs.iter().map(|job| job.transaction.raw().len()).sum::<usize>();
        let turn = Turn { shared: self, number: line.batches };
        line.batches += 1;
        if !line.jobs.is_empty() {
            self.came.notify_one();
        }
        Some((turn, jobs))
    }
}

/// What the threads work with.
#[derive(Debug)]
pub(super) struct Desk<C> {
    pub(super) chain: Arc<C>,
    pub(super) pool: Arc<Mutex<Pool>>,
    pub(super) feed: Arc<Feed>,
    pub(super) new_transaction: Arc<Notify>,
    pub(super) journal: Option<Arc<Journal>>,
    pub(super) pressure: Gauge,
}

/// A transaction with all that the pool must know of it.
struct Known {
    submission: Submission,
    account: AccountState,
}

impl<C: Chain> Desk<C> {
    /// Admits a batch and answers each of it. Accounts are read before it is the batch's turn: the
    /// pool knows which nonces were used since.
    fn admit(&self, turn: Turn<'_>, jobs: Vec<Job>) {
        let (transactions, waiting): (Vec<_>, Vec<_>) =
            jobs.into_iter().map(|job| (job.transaction, (job.terms, job.answer))).unzip();
        let senders = recover(&transactions);
        let (terms, answers): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
        let recovered = transactions.into_iter().zip(senders).zip(terms).map(
            |((transaction, sender), terms)| {
                let transaction = transaction.into_transaction(sender.map_err(AddError::from)?);
                Ok(Submission { transaction, terms, received_unix_ms: None })
            },
        );
        let recovered: Vec<Result<Submission, RpcError>> = recovered.collect();
        let found = self.look_up(recovered);
        drop(turn.wait());
        let (replies, journaled) = match found {
            Ok((base_fee_wei, known)) => self.add(base_fee_wei, known),
            Err(count) => ((0..count).map(|_| Err(RpcError::Internal)).collect(), Vec::new()),
        };
        self.write(&journaled);
        drop(turn);
        // Before the answers: whoever has one finds it announced.
        for Submission { transaction, .. } in journaled {
            self.feed.announce(transaction);
        }
        for (answer, reply) in answers.into_iter().zip(replies) {
            // An error means that the client went away.
            let _ = answer.send(reply);
        }
    }

    /// Reads the accounts from one state, and checks conditions against it. Fails with the number of
    /// transactions when there is no state to read.
    #[allow(clippy::type_complexity, reason = "one use")]
    fn look_up(
        &self,
        recovered: Vec<Result<Submission, RpcError>>,
    ) -> Result<(u64, Vec<Result<Known, RpcError>>), usize> {
        let count = recovered.len();
        let opened = self.chain.pending_env().and_then(|env| Ok((env, self.chain.pending_view()?)));
        let (env, view) = match opened {
            Ok((env, Some(view))) => (env, view),
            Ok((_, None)) => return Err(count),
            Err(error) => {
                tracing::error!(%error, "a transaction could not be checked");
                return Err(count);
            }
        };
        let fees = FeeSchedule::of_state(self.chain.rules(), &view).map_err(|error| {
            tracing::error!(%error, "the fees of the state could not be read");
            count
        })?;
        let base_fee_wei = env.base_fee_wei.unwrap_or(0);
        let known = recovered.into_iter().map(|submission| {
            let submission = submission?;
            let terms = submission.terms.as_ref();
            if let Some(conditions) = terms.and_then(|terms| terms.conditions.as_ref()) {
                let bounds = conditions.check_block(env.number, env.timestamp);
                bounds.map_err(AddError::from)?;
                if let Some(unmet) = conditions.find_unmet(&mut &view)? {
                    return Err(AddError::from(unmet).into());
                }
            }
            let transaction = &submission.transaction;
            let price_wei = transaction.effective_gas_price_wei(base_fee_wei);
            // Below the base fee it pays no tip, and waits for both.
            self.pressure.check_tip(price_wei.saturating_sub(base_fee_wei.into()))?;
            let account = AccountState::read(&view, submission.transaction.sender(), fees)?;
            Ok(Known { submission, account })
        });
        Ok((base_fee_wei, known.collect()))
    }

    /// Adds all under one lock, and tells the builder.
    fn add(
        &self,
        base_fee_wei: u64,
        known: Vec<Result<Known, RpcError>>,
    ) -> (Vec<Reply>, Vec<Submission>) {
        let mut added = Vec::with_capacity(known.len());
        let now = Instant::now();
        let mut pool = lock(&self.pool);
        let received_unix_ms = Some(pool.unix_ms(now));
        let replies = known.into_iter().map(|known| {
            let Known { submission, account } = known?;
            let reply = pool.add(submission.clone(), account, base_fee_wei, now)?;
            added.push(Submission { received_unix_ms, ..submission });
            Ok(reply)
        });
        let replies: Vec<Reply> = replies.collect();
        drop(pool);
        if !added.is_empty() {
            self.new_transaction.notify_one();
        }
        (replies, added)
    }

    /// Into the journal, before anybody is answered.
    fn write(&self, added: &[Submission]) {
        let Some(journal) = &self.journal else { return };
        journal.append_admitted(added);
    }
}

/// The stage. Its threads end with it.
#[derive(Debug)]
pub(super) struct Admissions {
    shared: Arc<Shared>,
    pressure: Gauge,
}

impl Admissions {
    /// Starts the threads.
    pub(super) fn start<C: Chain>(desk: Desk<C>) -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let threads = (cores / 2).clamp(1, THREADS_MAX);
        let (shared, pressure) = (Arc::new(Shared::default()), desk.pressure.clone());
        let desk = Arc::new(desk);
        for index in 0..threads {
            let (shared, desk) = (shared.clone(), desk.clone());
            let work = move || {
                while let Some((turn, jobs)) = shared.take(threads) {
                    desk.admit(turn, jobs);
                }
            };
            let name = format!("admission-{index}");
            if let Err(error) = thread::Builder::new().name(name).spawn(work) {
                tracing::error!(%error, "a thread for the admission of transactions is missing");
            }
        }
        Self { shared, pressure }
    }

    /// Puts a transaction in line, unless none is taken while L1 is behind. The answer comes with its admission; it stays away when the stage
    /// ends first.
    pub(super) fn submit(
        &self,
        transaction: Unrecovered,
        terms: Option<Arc<Terms>>,
    ) -> Result<oneshot::Receiver<Reply>, RpcError> {
        self.pressure.check_open()?;
        let (answer, receiver) = oneshot::channel();
        let mut line = lock(&self.shared.line);
        let bytes = line.bytes + transaction.raw().len();
        if line.jobs.len() >= WAITING_MAX || bytes > WAITING_BYTES_MAX {
            return Err(Limit::Admissions(line.jobs.len()).into());
        }
        line.bytes = bytes;
        line.jobs.push_back(Job { transaction, terms, answer });
        drop(line);
        self.shared.came.notify_one();
        Ok(receiver)
    }
}

impl Drop for Admissions {
    fn drop(&mut self) {
        let mut line = lock(&self.shared.line);
        line.is_closed = true;
        // Whoever waits is told that nothing comes.
        line.jobs.clear();
        drop(line);
        self.shared.came.notify_all();
    }
}
