//! Logs as eth_simulateV1 shows them when transfers of ether are wanted as logs, too.
//!
//! Keeps the logs of each frame apart, so that a frame that fails takes its logs with it.

use alloy::{
    primitives::{Address, B256, Log, LogData, U256, address, b256},
    sol_types::SolValue,
};
use revm::{
    Inspector,
    context_interface::{ContextTr, JournalTr},
    interpreter::{CallInputs, CallOutcome, CreateInputs, CreateOutcome},
};

/// Who seems to emit the logs of transfers (execution-apis, eth_simulateV1).
const TRANSFER_EMITTER: Address = address!("0xeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee");
/// `Transfer(address,address,uint256)`.
const TRANSFER_TOPIC: B256 =
    b256!("0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");

/// Collects logs, and a log for each transfer of ether.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    /// The logs of each open frame.
    frames: Vec<Vec<Log>>,
    finished: Vec<Log>,
}

impl Transfers {
    /// The logs of the transaction; none when it failed.
    pub(super) fn into_logs(self) -> Vec<Log> {
        self.finished
    }

    fn push(&mut self, log: Log) {
        if let Some(frame) = self.frames.last_mut() {
            frame.push(log);
        }
    }

    fn open(&mut self, transfer: Option<(Address, Address, U256)>) {
        self.frames.push(Vec::new());
        let Some((from, to, value)) = transfer.filter(|(.., value)| !value.is_zero()) else {
            return;
        };
        let topics = vec![TRANSFER_TOPIC, from.into_word(), to.into_word()];
        let data = LogData::new_unchecked(topics, value.abi_encode().into());
        self.push(Log { address: TRANSFER_EMITTER, data });
    }

    fn close(&mut self, succeeded: bool) {
        let Some(logs) = self.frames.pop().filter(|_| succeeded) else { return };
        match self.frames.last_mut() {
            Some(parent) => parent.extend(logs),
            None => self.finished = logs,
        }
    }
}

impl<CTX: ContextTr> Inspector<CTX> for Transfers {
    fn log(&mut self, _: &mut CTX, log: Log) {
        self.push(log);
    }

    fn call(&mut self, _: &mut CTX, inputs: &mut CallInputs) -> Option<CallOutcome> {
        let value = inputs.transfer_value();
        self.open(value.map(|value| (inputs.transfer_from(), inputs.transfer_to(), value)));
        None
    }

    fn call_end(&mut self, _: &mut CTX, _: &CallInputs, outcome: &mut CallOutcome) {
        self.close(outcome.result.is_ok());
    }

    fn create(&mut self, context: &mut CTX, inputs: &mut CreateInputs) -> Option<CreateOutcome> {
        let caller = inputs.caller();
        let nonce = context.journal_mut().load_account(caller).ok().map(|a| a.data.info.nonce);
        let transfer = nonce.map(|n| (caller, inputs.created_address(n), inputs.value()));
        self.open(transfer);
        None
    }

    fn create_end(&mut self, _: &mut CTX, _: &CreateInputs, outcome: &mut CreateOutcome) {
        self.close(outcome.result.is_ok());
    }

    fn selfdestruct(&mut self, contract: Address, target: Address, value: U256) {
        if !value.is_zero() {
            let topics = vec![TRANSFER_TOPIC, contract.into_word(), target.into_word()];
            let data = LogData::new_unchecked(topics, value.abi_encode().into());
            self.push(Log { address: TRANSFER_EMITTER, data });
        }
    }
}
