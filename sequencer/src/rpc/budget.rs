//! What one watched execution may cost: time, and bytes of what is recorded and answered.
//!
//! The limits are kept from inside: an inspector around the tracer looks at the clock and at what
//! the tracer records, and stops the EVM itself, so that the thread is free when the error is
//! answered. Knows no tracer.

use super::{
    chain::Chain,
    context::RpcContext,
    error::{Limit, Refusal, RpcError},
    table::Answer,
};
use executor::ExecuteError;
use revm::{
    Inspector,
    context_interface::{ContextError, ContextTr},
    handler::FrameResult,
    interpreter::{
        CallInputs, CallOutcome, CreateInputs, CreateOutcome, FrameInput, Interpreter,
        interpreter_types::LoopControl,
    },
    primitives::{Address, Log, U256},
};
use serde::Serialize;
use serde_json::value::RawValue;
use std::{
    io,
    time::{Duration, Instant},
};
use tokio::{runtime::Handle, sync::SemaphorePermit};

/// Watched executions at once: each keeps a core busy that the block builder wants too, and holds
/// what it records. More wait for a turn, and are refused when none comes.
pub(super) const TRACES_MAX: usize = 4;
/// How long a watched execution waits for its turn.
const TURN_WAIT: Duration = Duration::from_secs(5);
/// How long one execution may take unless the caller says otherwise. geth's default.
pub(super) const TRACE_TIME: Duration = Duration::from_secs(5);
/// How long one may take whatever the caller says; a longer wish is cut to it.
pub(super) const TRACE_TIME_MAX: Duration = Duration::from_secs(20);
/// Bytes that one call may record, about as many as its answer has, and bytes of the answer. A trace
/// that is longer answers an error: it cannot be cut without being wrong.
pub(super) const TRACE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Instructions between two looks at the clock: well under a millisecond.
const STEPS_PER_LOOK: u32 = 1_024;
/// About what a recorded instruction takes in memory without its stack, in bytes.
const STEP_BYTES: usize = 320;
/// About what a recorded call takes without its input and output, in bytes.
const CALL_BYTES: usize = 640;

/// What is left of the limits of one call.
#[derive(Debug)]
pub(super) struct Budget {
    deadline: Instant,
    bytes_left: usize,
    steps: u32,
    stopped: Option<Limit>,
}

impl Budget {
    fn new(time: Duration) -> Self {
        let deadline = Instant::now() + time.min(TRACE_TIME_MAX);
        Self { deadline, bytes_left: TRACE_BYTES_MAX, steps: 0, stopped: None }
    }

    /// Between two transactions: whether there is time left.
    pub(super) fn check(&mut self) -> Result<(), RpcError> {
        if self.stopped.is_none() && Instant::now() >= self.deadline {
            self.stopped = Some(Limit::TraceTime);
        }
        self.stopped.map_or(Ok(()), |limit| Err(limit.into()))
    }

    /// The error of an execution that failed: the limit, when it was that.
    pub(super) fn error(&self, error: ExecuteError) -> RpcError {
        self.stopped.map_or_else(|| error.into(), Into::into)
    }

    /// Takes from the bytes that may be recorded.
    pub(super) fn spend(&mut self, bytes: usize) {
        match self.bytes_left.checked_sub(bytes) {
            Some(left) => self.bytes_left = left,
            None => self.stopped = Some(Limit::TraceBytes(TRACE_BYTES_MAX)),
        }
    }

    fn count_step(&mut self) {
        self.steps += 1;
        if self.steps >= STEPS_PER_LOOK {
            self.steps = 0;
            let _ = self.check();
        }
    }
}

/// Waits for a turn and starts the clock. The permit is held while the execution and its answer are
/// made. Must be called on a blocking thread.
pub(super) fn turn<C: Chain>(
    ctx: &RpcContext<C>,
    time: Duration,
) -> Result<(SemaphorePermit<'_>, Budget), RpcError> {
    let refused = || RpcError::from(Limit::Traces(TRACES_MAX));
    let permit = match ctx.traces.try_acquire() {
        Ok(permit) => permit,
        Err(_) => {
            let waiting = async { tokio::time::timeout(TURN_WAIT, ctx.traces.acquire()).await };
            let handle = Handle::try_current().map_err(|_| refused())?;
            handle.block_on(waiting).map_err(|_| refused())?.map_err(|_| refused())?
        }
    };
    Ok((permit, Budget::new(time)))
}

/// A duration as Go writes it, the `timeout` of tracer options: `5s`, `1m30s`, `250ms`.
pub(super) fn duration(text: Option<&str>) -> Result<Duration, RpcError> {
    let Some(mut rest) = text.filter(|text| !text.is_empty()) else { return Ok(TRACE_TIME) };
    let invalid = || RpcError::from(Refusal::Duration);
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, tail) = rest.split_at(number_end.ok_or_else(invalid)?);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let unit_secs = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            _ => return Err(invalid()),
        };
        let secs = number.parse::<f64>().map_err(|_| invalid())? * unit_secs;
        let part = Duration::try_from_secs_f64(secs).map_err(|_| invalid())?;
        total = total.saturating_add(part);
        rest = tail;
    }
    Ok(total)
}

/// A finished answer, when it is not longer than [`TRACE_BYTES_MAX`].
pub(super) fn json_within<T: Serialize + ?Sized>(value: &T) -> Result<Answer, RpcError> {
    let mut writer = Bounded { bytes: Vec::new() };
    if let Err(error) = serde_json::to_writer(&mut writer, value) {
        if error.is_io() {
            return Err(Limit::TraceBytes(TRACE_BYTES_MAX).into());
        }
        tracing::error!(%error, "a trace cannot be written");
        return Err(RpcError::Internal);
    }
    let text = String::from_utf8(writer.bytes).map_err(|_| RpcError::Internal)?;
    RawValue::from_string(text).map(Answer::Json).map_err(|_| RpcError::Internal)
}

struct Bounded {
    bytes: Vec<u8>,
}

impl io::Write for Bounded {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + part.len() > TRACE_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a tracer records of each instruction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Recorded {
    pub(super) steps: bool,
    pub(super) stack: bool,
    pub(super) memory: bool,
}

/// An inspector within a budget.
pub(super) struct Limited<'b, I> {
    inner: I,
    budget: &'b mut Budget,
    recorded: Recorded,
}

impl<'b, I> Limited<'b, I> {
    pub(super) fn new(inner: I, budget: &'b mut Budget, recorded: Recorded) -> Self {
        Self { inner, budget, recorded }
    }

    fn count(&mut self, interp: &Interpreter) {
        self.budget.count_step();
        if !self.recorded.steps {
            return;
        }
        let stack = if self.recorded.stack { interp.stack.len() * 32 } else { 0 };
        let memory = if self.recorded.memory { interp.memory.len() } else { 0 };
        self.budget.spend(STEP_BYTES + stack + memory);
    }
}

impl<CTX: ContextTr, I: Inspector<CTX>> Inspector<CTX> for Limited<'_, I> {
    fn initialize_interp(&mut self, interp: &mut Interpreter, context: &mut CTX) {
        self.inner.initialize_interp(interp, context);
    }

    fn step(&mut self, interp: &mut Interpreter, context: &mut CTX) {
        self.count(interp);
        let Some(limit) = self.budget.stopped else { return self.inner.step(interp, context) };
        if context.error().is_ok() {
            *context.error() = Err(ContextError::Custom(limit.to_string()));
        }
        interp.bytecode.action().take();
        interp.bytecode.reset_action();
        interp.halt_fatal();
    }

    fn step_end(&mut self, interp: &mut Interpreter, context: &mut CTX) {
        self.inner.step_end(interp, context);
    }

    fn log(&mut self, context: &mut CTX, log: Log) {
        self.budget.spend(log.data.data.len());
        self.inner.log(context, log);
    }

    fn log_full(&mut self, interp: &mut Interpreter, context: &mut CTX, log: Log) {
        self.budget.spend(log.data.data.len());
        self.inner.log_full(interp, context, log);
    }

    fn frame_start(&mut self, context: &mut CTX, input: &mut FrameInput) -> Option<FrameResult> {
        self.inner.frame_start(context, input)
    }

    fn frame_end(&mut self, context: &mut CTX, input: &FrameInput, result: &mut FrameResult) {
        self.inner.frame_end(context, input, result);
    }

    fn call(&mut self, context: &mut CTX, inputs: &mut CallInputs) -> Option<CallOutcome> {
        self.budget.spend(CALL_BYTES + inputs.input.len());
        self.inner.call(context, inputs)
    }

    fn call_end(&mut self, context: &mut CTX, inputs: &CallInputs, outcome: &mut CallOutcome) {
        self.budget.spend(outcome.result.output.len());
        self.inner.call_end(context, inputs, outcome);
    }

    fn create(&mut self, context: &mut CTX, inputs: &mut CreateInputs) -> Option<CreateOutcome> {
        self.budget.spend(CALL_BYTES + inputs.init_code().len());
        self.inner.create(context, inputs)
    }

    fn create_end(
        &mut self,
        context: &mut CTX,
        inputs: &CreateInputs,
        outcome: &mut CreateOutcome,
    ) {
        self.budget.spend(outcome.result.output.len());
        self.inner.create_end(context, inputs, outcome);
    }

    fn selfdestruct(&mut self, contract: Address, target: Address, value: U256) {
        self.inner.selfdestruct(contract, target, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_are_read() {
        let read = |text| duration(Some(text)).ok();
        assert_eq!(duration(None).ok(), Some(TRACE_TIME));
        assert_eq!(read("5s"), Some(Duration::from_secs(5)));
        assert_eq!(read("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(read("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(read("1.5s"), Some(Duration::from_millis(1_500)));
        for wrong in ["5", "s", "5 s", "-5s", "5x", "1..2s", "9e99h"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
