//! What is expected of each transaction of a batch: its keys and its time.
//!
//! Advice only. Reads code hashes, so that a call is recognised by the code it runs; an error there
//! is no answer, and the transaction itself will meet it.

use crate::{
    knowledge::{Call, Function, Knowledge, PredictedKey, Template},
    transaction::{Body, Transaction},
};
use alloy_primitives::{
    Address, B256, KECCAK256_EMPTY, TxKind,
    map::{DefaultHashBuilder, HashMap},
};
use core::hash::BuildHasher;
use std::{sync::Arc, vec::Vec};

/// Time of a plain transfer, in nanoseconds.
const TRANSFER_NS: u64 = 250;
/// Time of a call beside its gas, in nanoseconds.
const CALL_NS: u64 = 1_000;
/// Time of one thousand gas, in nanoseconds; measured over real blocks, where it is 100 to 400.
const KILOGAS_NS: u64 = 200;
/// Gas that a call of an unknown function is taken to use, at most.
const UNKNOWN_GAS_MAX: u64 = 150_000;

/// After this many observations a function is known; then it is a call at every so many places of a
/// batch that teaches.
const OBSERVATIONS_ENOUGH: u32 = 4;
const REFRESH_EVERY: usize = 16;

/// Observations of a function before a batch is planned with it.
const LESSONS_NEEDED: u32 = 2;

/// The transactions that are executed first, for a lesson, are at most this share of a batch.
const LESSON_SHARE: usize = 16;

/// One transaction's forecast.
pub(super) struct Expected {
    pub(super) time_ns: u32,
    pub(super) function: Option<u32>,
    pub(super) learns: bool,
    /// Only the leader executes it.
    pub(super) leaders_only: bool,
    /// What it is, not what it reads, allows a helper to execute it.
    can_speculate: bool,
}

struct KnownFunction {
    of_contract: Function,
    of_code: Function,
    template: Option<Arc<Template>>,
    /// The template is of another contract with the same code.
    is_foreign: bool,
    /// Calls in this batch so far.
    called: u32,
}

/// The forecast of a batch.
pub(crate) struct Forecast {
    pub(super) expected: Vec<Expected>,
    functions: Vec<KnownFunction>,
    hasher: DefaultHashBuilder,
}

/// Most time that the calls of a batch can be expected to take, in nanoseconds; cheap to say.
pub(crate) fn calls_ns_max(transactions: &[Transaction]) -> u64 {
    let calls = transactions.iter().filter(|transaction| !transaction.input().is_empty());
    calls.map(|call| CALL_NS + call.gas_limit().min(2 * UNKNOWN_GAS_MAX) * KILOGAS_NS / 1_000).sum()
}

impl Forecast {
    pub(crate) fn new(
        transactions: &[Transaction],
        knowledge: &Knowledge,
        mut code_hash: impl FnMut(Address) -> Option<B256>,
    ) -> Self {
        let mut forecast = Self {
            expected: Vec::with_capacity(transactions.len()),
            functions: Vec::new(),
            hasher: DefaultHashBuilder::default(),
        };
        let mut numbers = HashMap::<Function, u32>::default();
        for (index, transaction) in transactions.iter().enumerate() {
            let can_speculate = match transaction.body() {
                Body::Deposit(_) => false,
                Body::Signed(_) => !transaction.kind().is_create() && transaction.ty() != 4,
            };
            let called = match transaction.kind() {
                TxKind::Call(to) if !transaction.input().is_empty() => Some(to),
                _ => None,
            };
            let Some(to) = called else {
                let gas = transaction.gas_limit().saturating_sub(21_000).min(UNKNOWN_GAS_MAX);
                let time_ns = TRANSFER_NS + gas * KILOGAS_NS / 1_000;
                forecast.push(time_ns, None, false, can_speculate);
                continue;
            };
            let selector = selector(transaction.input());
            let of_contract = Function::of_contract(to, selector);
            let number = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
            let number = *numbers.entry(of_contract).or_insert_with(|| {
                let code_hash = code_hash(to).unwrap_or(KECCAK256_EMPTY);
                let of_code = Function::of_code(code_hash, selector);
                let own = knowledge.template(&of_contract);
                let is_foreign = own.is_none();
                let template = own.or_else(|| knowledge.template(&of_code));
                forecast.functions.push(KnownFunction {
                    of_contract,
                    of_code,
                    template,
                    is_foreign,
                    called: 0,
                });
                number
            });
            let is_foreign = forecast.functions[number as usize].is_foreign;
            let known = &mut forecast.functions[number as usize];
            known.called += 1;
            let (template, called) = (&known.template, known.called);
            let gas = template.as_ref().map_or(UNKNOWN_GAS_MAX, |template| template.gas_used());
            let observations = template.as_ref().map_or(0, |template| template.observations());
            let observations = if is_foreign { 0 } else { observations };
            let learns = observations + called <= OBSERVATIONS_ENOUGH || index % REFRESH_EVERY == 0;
            let hopeless = template.as_ref().is_some_and(|template| template.is_hopeless());
            let gas = gas.min(transaction.gas_limit());
            let time_ns = CALL_NS + gas * KILOGAS_NS / 1_000;
            forecast.push(time_ns, Some(number), learns, can_speculate);
            forecast.expected[index].leaders_only |= hopeless;
        }
        forecast
    }

    /// With a list, the transactions that a helper could not speculate on can be speculated on; and
    /// those that the list makes superfluous to execute ahead are the leader's.
    pub(crate) fn guided(mut self) -> Self {
        for expected in &mut self.expected {
            expected.leaders_only = !expected.can_speculate || expected.function.is_none();
        }
        self
    }

    fn push(&mut self, time_ns: u64, function: Option<u32>, learns: bool, can_speculate: bool) {
        let time_ns = u32::try_from(time_ns).unwrap_or(u32::MAX);
        let leaders_only = !can_speculate;
        self.expected.push(Expected { time_ns, function, learns, leaders_only, can_speculate });
    }

    /// Expected time of the whole batch, in nanoseconds.
    pub(crate) fn time_ns(&self) -> u64 {
        self.expected.iter().map(|expected| u64::from(expected.time_ns)).sum()
    }

    pub(crate) fn learns(&self, index: usize) -> bool {
        self.expected[index].learns
    }

    /// The function that a transaction calls: of its contract, and of its code.
    pub(crate) fn functions(&self, index: usize) -> Option<(Function, Function)> {
        let known = &self.functions[self.expected[index].function? as usize];
        Some((known.of_contract, known.of_code))
    }

    /// How many of the first transactions to execute before planning the rest, because they teach
    /// most of what is not known: each of the functions that matter occurs twice among them or what
    /// is known of it, since one observation cannot tell a rule from an accident.
    pub(crate) fn lesson(&self) -> usize {
        let mut missing: Vec<u32> = Vec::with_capacity(self.functions.len());
        for known in &self.functions {
            let seen = known.template.as_ref().map_or(0, |template| template.observations());
            missing.push(LESSONS_NEEDED.saturating_sub(seen));
        }
        let mut unknown_ns = std::vec![0u64; self.functions.len()];
        let mut total_ns = 0u64;
        for expected in &self.expected {
            let Some(number) = expected.function else { continue };
            total_ns += u64::from(expected.time_ns);
            if missing[number as usize] > 0 {
                unknown_ns[number as usize] += u64::from(expected.time_ns);
            }
        }
        let mut unknown: u64 = unknown_ns.iter().sum();
        if unknown * 4 < total_ns {
            return 0;
        }
        let longest = self.expected.len() / LESSON_SHARE;
        for (index, expected) in self.expected.iter().take(longest).enumerate() {
            let Some(number) = expected.function else { continue };
            let missing = &mut missing[number as usize];
            *missing = missing.saturating_sub(1);
            if *missing == 0 {
                unknown -= core::mem::take(&mut unknown_ns[number as usize]);
            }
            if unknown * 4 < total_ns {
                return index + 1;
            }
        }
        0
    }

    /// Calls `visit` with every key that the transaction is expected to touch.
    pub(super) fn keys(
        &self,
        index: usize,
        transaction: &Transaction,
        mut visit: impl FnMut(PredictedKey),
    ) {
        let account = |address: Address| self.hasher.hash_one(address);
        let sender = transaction.sender();
        visit(PredictedKey { name: account(sender), is_written: true });
        let TxKind::Call(to) = transaction.kind() else { return };
        let Some(number) = self.expected[index].function else {
            // Nothing but the recipient's balance, which matters to what it sends.
            return visit(PredictedKey { name: account(to), is_written: false });
        };
        let known = &self.functions[number as usize];
        let writes_elsewhere = |template: &Arc<Template>| template.writes_elsewhere();
        if known.is_foreign && known.template.as_ref().is_none_or(writes_elsewhere) {
            // Where it writes is not known: taken to be the same for all calls of the contract.
            let name = self.hasher.hash_one((to, 0u8));
            visit(PredictedKey { name, is_written: true });
        }
        let Some(template) = &known.template else { return };
        let call = Call { sender, to, input: transaction.input() };
        template.predict(&call, known.is_foreign, &self.hasher).for_each(visit);
    }
}

fn selector(input: &[u8]) -> [u8; 4] {
    let mut selector = [0; 4];
    let length = input.len().min(4);
    selector[..length].copy_from_slice(&input[..length]);
    selector
}
