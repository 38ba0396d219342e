//! The threads that work for calls, apart by how much work a call is, so that nobody waits behind
//! something heavier.
//!
//! All of them give way to the threads that admit, build and answer sends: those keep their priority,
//! these give theirs up for good, which is why they are not the runtime's. Decides nothing about calls.

use super::{
    cost::Class,
    error::{Limit, RpcError},
};
use std::{
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};
use tokio::{runtime::Handle, sync::oneshot};

/// Bodies that wait for one lane's threads; more are refused as "server busy". What they hold is
/// bounded by the bytes that clients may hold.
const WAITING_MAX: usize = 1_024;
/// How long a body waits for a thread before it is refused: its client waits no longer, either.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Niceness of threads that read: about a third of the share of a thread that builds.
const READ_NICE: i32 = 5;
/// Niceness of threads that execute: a tenth.
const EXECUTE_NICE: i32 = 10;
/// Niceness of threads that search and trace: a thirtieth.
const TRACE_NICE: i32 = 15;

type Job = Box<dyn FnOnce() + Send>;

/// One set of threads and what waits for them. The threads end with it.
#[derive(Debug)]
struct Lane {
    jobs: SyncSender<Job>,
}

impl Lane {
    fn start(name: &str, threads: usize, nice: i32) -> Self {
        let (jobs, queue) = sync_channel::<Job>(WAITING_MAX);
        let queue = Arc::new(Mutex::new(queue));
        for index in 0..threads {
            let queue = queue.clone();
            let work = move || {
                step_back(nice);
                while let Some(job) = next(&queue) {
                    work_off(job);
                }
            };
            let name = format!("{name}-{index}");
            if let Err(error) = thread::Builder::new().name(name).spawn(work) {
                tracing::error!(%error, "a thread for calls is missing");
            }
        }
        Self { jobs }
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, RpcError> {
        let (answer, answered) = oneshot::channel();
        let (runtime, queued) = (Handle::current(), Instant::now());
        let job = move || {
            // Nobody waits any more, or nobody should have.
            if answer.is_closed() || queued.elapsed() > WAIT_MAX {
                return;
            }
            let _entered = runtime.enter();
            // An error means that the client went away.
            let _ = answer.send(work());
        };
        let busy = || RpcError::from(Limit::Busy(WAITING_MAX));
        self.jobs.try_send(Box::new(job)).map_err(|_| busy())?;
        answered.await.map_err(|_| match queued.elapsed() > WAIT_MAX {
            true => busy(),
            false => RpcError::Internal,
        })
    }
}

/// A call that panics is one call's affair.
fn work_off(job: Job) {
    if catch_unwind(AssertUnwindSafe(job)).is_err() {
        tracing::error!("a request stopped");
    }
}

fn next(queue: &Mutex<Receiver<Job>>) -> Option<Job> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// Makes this thread wait for those that build and serve.
pub(super) fn step_back(nice: i32) {
    // A hint to the scheduler: without it calls only take more from the others.
    if let Err(error) = rustix::process::setpriority_process(None, nice) {
        tracing::debug!(%error, "a thread for calls keeps its priority");
    }
}

/// The lanes of one server.
#[derive(Debug)]
pub(super) struct Lanes {
    read: Lane,
    execute: Lane,
    trace: Lane,
}

impl Lanes {
    /// Starts the threads: for reads as many as there are cores, and for each of the others one less,
    /// at least one.
    pub(super) fn start() -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let heavy = cores.saturating_sub(1).max(1);
        Self {
            read: Lane::start("rpc-read", cores.max(2), READ_NICE),
            execute: Lane::start("rpc-execute", heavy, EXECUTE_NICE),
            trace: Lane::start("rpc-trace", heavy, TRACE_NICE),
        }
    }

    /// Runs `work` on a thread for calls of this class.
    ///
    /// # Errors
    /// [`Limit::Busy`] when too many wait, or this one waited too long.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        class: Class,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, RpcError> {
        let lane = match class {
            Class::Instant | Class::Read => &self.read,
            Class::Execute => &self.execute,
            Class::Search | Class::Trace => &self.trace,
        };
        lane.run(work).await
    }
}
