//! One block in every mode, compared with the reference in everything but the counters.
//!
//! Owns what counts as equal, and the words in which a difference is reported. A panic is a
//! difference. Does not draw blocks; a block that hangs is the campaign's to notice.

use super::{dice::Dice, scenario::Block};
use alloy::primitives::{Address, B256, U256};
use executor::{
    Account, BlockAccessList, BlockInput, ChainRules, Changes, ExecuteError, ExecutedBlock,
    Execution, Knowledge, MemoryState, Mode, Options, PostState, Reads, StateDiff, StateTrie,
    StateView, Touched, ViewError, access_list::access_list, execute_with,
};
use revm::{bytecode::Bytecode, primitives::hardfork::SpecId};
use std::{
    any::Any,
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// A state in which one account may be unreadable: what a helper reads in vain, and the block never
/// needs, must not fail it.
#[derive(Debug)]
pub(crate) struct Disk<'s> {
    /// The state.
    pub(crate) state: &'s MemoryState,
    /// Cannot be read.
    pub(crate) unreadable: Option<Address>,
}

impl StateView for Disk<'_> {
    fn account(&self, address: Address) -> Result<Option<Account>, ViewError> {
        if self.unreadable == Some(address) {
            return Err(ViewError::Store("unreadable".into()));
        }
        self.state.account(address)
    }

    fn slot(&self, address: Address, slot: U256) -> Result<U256, ViewError> {
        self.state.slot(address, slot)
    }

    fn code(&self, code_hash: B256) -> Result<Bytecode, ViewError> {
        self.state.code(code_hash)
    }

    fn block_hash(&self, number: u64) -> Result<B256, ViewError> {
        self.state.block_hash(number)
    }

    fn trie_for(&self, reads: &Reads, diff: &StateDiff) -> Result<StateTrie, ViewError> {
        self.state.trie_for(reads, diff)
    }

    fn after(&self, diff: &StateDiff) -> Result<PostState, ViewError> {
        self.state.after(diff)
    }
}

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

type Executed = Result<ExecutedBlock, ExecuteError>;

/// Executes without letting a panic out.
fn guarded(name: &str, run: impl FnOnce() -> Executed) -> Result<Executed, String> {
    GUARDED.set(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    GUARDED.set(false);
    result.map_err(|panic| format!("{name}: panic: {}", words(&*panic)))
}

/// Whether this thread's panics are caught, and reported as differences.
pub(crate) fn is_guarded() -> bool {
    GUARDED.get()
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref().copied()).unwrap_or("without words")
}

/// The modes that must equal the reference.
fn modes() -> [Mode; 4] {
    let parallel =
        |workers: usize| Mode::Parallel { workers: NonZeroUsize::MIN.saturating_add(workers - 1) };
    [parallel(2), parallel(3), parallel(8), Mode::Automatic]
}

/// Executes the block in every mode; the reference's result, or the first difference.
pub(crate) fn in_every_mode(
    state: &MemoryState,
    block: &Block,
    knowledge: &Knowledge,
    dice: &mut Dice,
) -> Result<Executed, String> {
    let view = Disk { state, unreadable: block.unreadable };
    let input = &block.input;
    let reference = guarded("sequential", || execute_with(&view, input, Mode::Sequential.into()))?;
    for mode in modes() {
        let knowledge = block.knows.then_some(knowledge);
        let options = Options { mode, knowledge, ..Options::default() };
        let name = format!("{mode:?}");
        let result = guarded(&name, || execute_with(&view, input, options))?;
        same_result(&reference, &result).map_err(|difference| format!("{name}: {difference}"))?;
    }
    if let Ok(block) = &reference
        && dice.chance(20)
        && let Ok(list) = access_list(&view, input, block)
    {
        let list = if dice.chance(50) { list } else { lies(&list, dice)? };
        let mode = dice.pick(&modes());
        let options = Options { mode, access_list: Some(&list), ..Options::default() };
        let name = format!("{mode:?} with a list");
        let result = guarded(&name, || execute_with(&view, input, options))?;
        same_result(&reference, &result).map_err(|difference| format!("{name}: {difference}"))?;
    }
    if dice.chance(30) {
        let result = guarded("pieces", || pieces(&view, input, dice))?;
        same_result(&reference, &result).map_err(|difference| format!("pieces: {difference}"))?;
    }
    Ok(reference)
}

/// A list with wrong values in the places of right ones.
fn lies(list: &BlockAccessList, dice: &mut Dice) -> Result<BlockAccessList, String> {
    let mut accounts = list.accounts().to_vec();
    for account in &mut accounts {
        for change in &mut account.balance_changes {
            if dice.chance(10) {
                change.post_balance = dice.pick(&[U256::ZERO, U256::ONE, U256::MAX]);
            }
        }
        for change in &mut account.nonce_changes {
            if dice.chance(10) {
                change.new_nonce = dice.pick(&[0, 1, u64::MAX]);
            }
        }
        for change in account.storage_changes.iter_mut().flat_map(|slot| &mut slot.changes) {
            if dice.chance(10) {
                change.new_value = dice.pick(&[U256::ZERO, U256::ONE, U256::MAX]);
            }
        }
    }
    let bytes = alloy::rlp::encode(&accounts);
    BlockAccessList::decode(&bytes, usize::MAX >> 1).map_err(|error| error.to_string())
}

/// As the builder does it: a few transactions at a time.
fn pieces(view: &Disk<'_>, input: &BlockInput, dice: &mut Dice) -> Executed {
    let mode = dice.pick(&[Mode::Sequential, Mode::Automatic, modes()[0], modes()[2]]);
    let options = Options { mode, reports_changes: true, ..Options::default() };
    let mut execution = Execution::begin(view, input.rules.clone(), input.env.clone(), options)?;
    let mut reports = Reports::default();
    let mut rest = &input.transactions[..];
    let most = dice.pick(&[1, 3, 20]);
    let mut told = Told::default();
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.len().min(dice.range(0, most) as usize));
        execution.extend(piece)?;
        if dice.range(0, 1) == 0 {
            told.add(view, &execution.touched())?;
        }
        if dice.range(0, 1) == 0 {
            reports.add(execution.changes()?);
        }
        rest = after;
    }
    reports.add(execution.changes()?);
    let block = execution.seal()?;
    if ends_quietly(input) {
        reports.compare(view, &block.diff)?;
    }
    Ok(block)
}

/// Whether nothing changes after the last transaction, no reward, withdrawal or system call; and
/// accounts with storage stay (EIP-6780).
fn ends_quietly(input: &BlockInput) -> bool {
    let quiet = |spec: SpecId| {
        spec.is_enabled_in(SpecId::CANCUN)
            && !spec.is_enabled_in(SpecId::PRAGUE)
            && input.env.withdrawals.iter().flatten().next().is_none()
    };
    match &*input.rules {
        ChainRules::Rollup(_) => true,
        ChainRules::Ethereum(rules) => quiet(rules.spec),
    }
}

/// The state that an execution has reported piece by piece.
#[derive(Default)]
struct Reports {
    accounts: BTreeMap<Address, Option<Account>>,
    slots: BTreeMap<(Address, U256), U256>,
    codes: BTreeSet<B256>,
}

impl Reports {
    fn add(&mut self, changes: Changes) {
        self.accounts.extend(changes.accounts);
        self.slots.extend(changes.slots.into_iter().map(|(a, slot, value)| ((a, slot), value)));
        self.codes.extend(changes.codes.into_iter().map(|(hash, _)| hash));
    }

    /// Every change was reported, and what was reported besides is as it was.
    fn compare(self, view: &Disk<'_>, diff: &StateDiff) -> Result<(), ExecuteError> {
        let wrong = |what: String| Err(ViewError::Store(what.into()).into());
        for (address, change) in &diff.accounts {
            if change.before != change.after && self.accounts.get(address) != Some(&change.after) {
                return wrong(format!("reported {:?}: {address}", self.accounts.get(address)));
            }
            for (slot, value) in &change.slots {
                if self.slots.get(&(*address, *slot)) != Some(&value.after) {
                    return wrong(format!("slot {slot} of {address} not reported"));
                }
            }
        }
        if let Some(hash) = diff.codes.keys().find(|hash| !self.codes.contains(*hash)) {
            return wrong(format!("code {hash} not reported"));
        }
        for (address, account) in &self.accounts {
            if !diff.accounts.contains_key(address) && view.account(*address)? != *account {
                return wrong(format!("{address} reported, and unchanged"));
            }
        }
        for ((address, slot), value) in self.slots {
            let change = diff.accounts.get(&address);
            let is_known = change.is_some_and(|it| it.wiped || it.slots.contains_key(&slot));
            if !is_known && view.slot(address, slot)? != value {
                return wrong(format!("slot {slot} of {address} reported, and unchanged"));
            }
        }
        Ok(())
    }
}

/// What an execution said beforehand of its changes.
#[derive(Default)]
struct Told {
    accounts: BTreeSet<Address>,
    slots: BTreeSet<(Address, U256)>,
}

impl Told {
    /// Nothing is told twice, and everything was before as the view has it.
    fn add(&mut self, view: &Disk<'_>, touched: &Touched) -> Result<(), ExecuteError> {
        for (address, before, after) in &touched.accounts {
            assert!(self.accounts.insert(*address), "{address} is told again");
            assert!(before != after, "{address} is told and did not change");
            assert_eq!(*before, view.account(*address)?, "{address} before");
        }
        for (address, slot, value) in &touched.slots {
            assert!(self.slots.insert((*address, *slot)), "{address} {slot} is told again");
            assert!(value.before != value.after, "{address} {slot} is told and did not change");
            assert_eq!(value.before, view.slot(*address, *slot)?, "{address} {slot} before");
        }
        Ok(())
    }
}

fn same_result(reference: &Executed, result: &Executed) -> Result<(), String> {
    match (reference, result) {
        (Ok(reference), Ok(result)) => same_block(reference, result),
        // Which error comes first is not promised, only that there is one.
        (Err(_), Err(_)) => Ok(()),
        (Ok(_), Err(error)) => Err(format!("fails: {error}")),
        (Err(error), Ok(_)) => Err(format!("succeeds, and the reference fails: {error}")),
    }
}

fn same_block(reference: &ExecutedBlock, result: &ExecutedBlock) -> Result<(), String> {
    same_lists("skipped", &reference.skipped, &result.skipped)?;
    same_lists("transactions", &reference.transactions, &result.transactions)?;
    same_lists("receipts", &reference.receipts, &result.receipts)?;
    for (address, expected) in &reference.diff.accounts {
        let found = result.diff.accounts.get(address);
        same(&format!("diff of {address}"), &Some(expected), &found)?;
    }
    let accounts = |block: &ExecutedBlock| block.diff.accounts.keys().copied().collect::<Vec<_>>();
    same_lists("accounts of the diff", &accounts(reference), &accounts(result))?;
    let codes = |block: &ExecutedBlock| block.diff.codes.keys().copied().collect::<Vec<_>>();
    same_lists("codes of the diff", &codes(reference), &codes(result))?;
    same("diff", &reference.diff, &result.diff)?;
    same("header", &reference.header, &result.header)?;
    same("hash", &reference.hash, &result.hash)?;
    let root = |block: &ExecutedBlock| block.trie.as_ref().map(StateTrie::root);
    same("root of the trie", &root(reference), &root(result))
}

fn same<T: PartialEq + Debug>(what: &str, expected: &T, found: &T) -> Result<(), String> {
    if expected == found {
        return Ok(());
    }
    Err(format!("{what}:\n  expected {expected:?}\n  found    {found:?}"))
}

fn same_lists<T: PartialEq + Debug>(what: &str, expected: &[T], found: &[T]) -> Result<(), String> {
    for index in 0..expected.len().max(found.len()) {
        same(&format!("{what} {index}"), &expected.get(index), &found.get(index))?;
    }
    Ok(())
}
