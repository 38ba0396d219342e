//! The state before a block: who holds what, which contracts stand where, and under which rules.
//!
//! Owns addresses and the drawing of a state. Addresses are the same in every world, so that what is
//! learned about a contract in one block is wrong in another, and so that a signed authorization
//! serves many. Draws no transactions.

use super::{
    authorizations,
    contracts::{self, init_code, proxy},
    dice::Dice,
    interpreter::{self, Program},
};
use alloy::{
    eips::eip2935,
    primitives::{Address, B256, Bytes, U256, address, keccak256},
};
use executor::{
    Account, ChainRules, EthereumRules, FeeRules, FeeSchedule, L1Attributes, MemoryState,
    RollupRules, StateDiff,
    fees::{L1_FEE_VAULT, OPERATOR_FEE_VAULT, SizeModel},
    state::{AccountDiff, SlotDiff},
};
use revm::{bytecode::Bytecode, bytecode::opcode as op, primitives::hardfork::SpecId};
use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

/// Chain id of every world.
pub(crate) const CHAIN_ID: u64 = 420_420;
/// What a rich account holds, in wei.
pub(crate) const RICH_WEI: u64 = 1 << 60;
/// Accounts that only crowds use.
pub(crate) const CROWD: u64 = 240;

/// The interpreter itself.
pub(crate) const INTERPRETER: Address = address!("0xc0de000000000000000000000000000000000001");
/// A copy of it under the same code hash.
pub(crate) const COPY: Address = address!("0xc0de000000000000000000000000000000000002");
/// Proxies of the interpreter: accounts with storage of their own that do as they are told.
pub(crate) const PROXIES: [Address; 4] = [
    address!("0xc0de000000000000000000000000000000000011"),
    address!("0xc0de000000000000000000000000000000000012"),
    address!("0xc0de000000000000000000000000000000000013"),
    // Folded or cut to 64 bits it is the first.
    address!("0xd0de100000000000000010000000000000000011"),
];
/// Tokens.
pub(crate) const TOKENS: [Address; 2] = [
    address!("0xc0de000000000000000000000000000000000021"),
    address!("0xc0de000000000000000000000000000000000022"),
];
/// Counts calls.
pub(crate) const COUNTER: Address = address!("0xc0de000000000000000000000000000000000031");
/// Passes ether on.
pub(crate) const FORWARDER: Address = address!("0xc0de000000000000000000000000000000000032");
/// Self-destructs.
pub(crate) const BOMB: Address = address!("0xc0de000000000000000000000000000000000033");
/// Measures gas.
pub(crate) const GAUGE: Address = address!("0xc0de000000000000000000000000000000000034");

/// Where fees beside gas go.
pub(crate) const VAULTS: [Address; 2] = [L1_FEE_VAULT, OPERATOR_FEE_VAULT];

/// An ordinary account. Every second one has the low 8 bytes of the one before.
pub(crate) fn person(index: u64) -> Address {
    let mut bytes = [0u8; 20];
    bytes[0] = 0xee;
    bytes[3] = (index % 2) as u8;
    bytes[11] = (index % 2) as u8;
    bytes[12..].copy_from_slice(&(0xee00_0000 + index / 2).to_be_bytes());
    bytes.into()
}

/// The proxy that belongs to one member of a crowd alone.
pub(crate) fn own_proxy(index: u64) -> Address {
    Address::from_word(B256::from(U256::from(0xc0de_c0de_0000_0000 + index)))
}

/// An account that CREATE2 can make: by whom, with what, and where it then is.
#[derive(Clone, Debug)]
pub(crate) struct Nest {
    /// Who must create it.
    pub(crate) factory: Address,
    /// Salt.
    pub(crate) salt: u8,
    /// Init code.
    pub(crate) init: Bytes,
    /// Where it is.
    pub(crate) address: Address,
}

/// Init codes: nothing, storage, a question, a constructor that self-destructs, and one that fails.
pub(crate) fn constructors() -> Vec<Bytes> {
    let runtime = proxy(INTERPRETER);
    let mut programs = vec![Program::default(); 5];
    programs[1].set(U256::from(5)).store(U256::ZERO).store(U256::ONE).log(1);
    programs[2].ask(op::BALANCE, PROXIES[0]).store(U256::ZERO).load(U256::ONE).add_to(2);
    programs[3]
        .set(U256::from(7))
        .store(U256::ZERO)
        .context(op::CALLER)
        .selfdestruct(Address::ZERO);
    programs[4].set(U256::from(3)).store(U256::from(3)).call(op::CALL, COUNTER, 1, 0, &[]);
    programs.iter().map(|program| init_code(INTERPRETER, program, &runtime)).collect()
}

/// Every nest.
pub(crate) fn nests() -> &'static [Nest] {
    static NESTS: OnceLock<Vec<Nest>> = OnceLock::new();
    NESTS.get_or_init(|| {
        let inits = constructors();
        let factories = [COPY, PROXIES[0], PROXIES[1], authorizations::authority(0)];
        let nest = |factory: Address, salt: u8, init: &Bytes| {
            let word = B256::from(U256::from(salt));
            let address = factory.create2(word, keccak256(init));
            Nest { factory, salt, init: init.clone(), address }
        };
        let salted =
            |factory| inits.iter().flat_map(move |init| (0..2).map(move |s| (factory, s, init)));
        let all = factories.into_iter().flat_map(salted);
        all.map(|(factory, salt, init)| nest(factory, salt, init)).collect()
    })
}

/// Slots that hash alike where a hash is cut to 64 bits, added or folded; small ones first.
pub(crate) fn slots() -> &'static [U256] {
    static SLOTS: OnceLock<Vec<U256>> = OnceLock::new();
    SLOTS.get_or_init(|| {
        let word = |a: u64, b: u64, c: u64, d: u64| U256::from_limbs([d, c, b, a]);
        let mut slots: Vec<_> = (0..6).map(U256::from).collect();
        slots.extend([word(0, 0, 1, 0), word(0, 1, 0, 0), word(1, 0, 0, 0)]);
        slots.extend([word(1, 0, 0, 1), word(1, 1, 1, 1), word(2, 3, 0, 0), word(3, 2, 0, 0)]);
        slots.extend([word(7, 7, 7, 1), word(u64::MAX, 0, 0, 2), U256::MAX]);
        slots
    })
}

/// What a world is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// A few accounts that meet all the time.
    Village,
    /// Many that hardly ever meet.
    City,
}

/// A drawn state, with the rules it is under.
#[derive(Debug)]
pub(crate) struct World {
    /// State.
    pub(crate) state: MemoryState,
    /// Rules.
    pub(crate) rules: Arc<ChainRules>,
    /// Receives fees.
    pub(crate) beneficiary: Address,
    /// Base fee in wei, from London on.
    pub(crate) base_fee_wei: Option<u64>,
    /// What opens the next block, on a rollup.
    pub(crate) attributes: Option<L1Attributes>,
    /// Accounts that send.
    pub(crate) senders: Vec<Address>,
    /// Height of the last block.
    pub(crate) number: u64,
    /// Its hash.
    pub(crate) hash: B256,
}

impl World {
    /// Hardfork.
    pub(crate) fn spec(&self) -> SpecId {
        self.rules.spec()
    }

    /// Whether the hardfork has come.
    pub(crate) fn has(&self, spec: SpecId) -> bool {
        self.spec().is_enabled_in(spec)
    }

    /// The fees beside gas that the next block's attributes put in force.
    pub(crate) fn fees(&self) -> Option<FeeSchedule> {
        let (ChainRules::Rollup(rollup), Some(it)) = (&*self.rules, self.attributes) else {
            return None;
        };
        Some(FeeSchedule::new(&rollup.fees, it.base_fee_wei, it.blob_base_fee_wei))
    }

    /// Draws the attributes of the next block; now and then there are none.
    pub(crate) fn draw_attributes(&mut self, dice: &mut Dice) {
        let has_some = self.is_rollup() && !dice.chance(8);
        self.attributes = has_some.then(|| attributes(dice, self.number));
    }

    /// Whether deposits exist.
    pub(crate) fn is_rollup(&self) -> bool {
        matches!(*self.rules, ChainRules::Rollup(_))
    }
}

fn rules(dice: &mut Dice) -> ChainRules {
    let ethereum = |spec| Some(EthereumRules { chain_id: CHAIN_ID, spec });
    let rules = dice.weighted(&[
        (45, None),
        (8, ethereum(SpecId::OSAKA)),
        (10, ethereum(SpecId::PRAGUE)),
        (8, ethereum(SpecId::CANCUN)),
        (7, ethereum(SpecId::SHANGHAI)),
        (2, ethereum(SpecId::MERGE)),
        (5, ethereum(SpecId::LONDON)),
        (3, ethereum(SpecId::BERLIN)),
        (4, ethereum(SpecId::ISTANBUL)),
        (3, ethereum(SpecId::PETERSBURG)),
        (5, ethereum(SpecId::BYZANTIUM)),
    ]);
    let capped = dice.chance(8);
    rules.map_or_else(
        || {
            let transaction_gas_limit = if capped { 250_000 } else { 1 << 24 };
            let fees = fee_rules(dice);
            let chain_id = CHAIN_ID;
            let rollup =
                RollupRules { chain_id, transaction_gas_limit, fees, ..Default::default() };
            ChainRules::Rollup(rollup)
        },
        ChainRules::Ethereum,
    )
}

/// All fees, none, or a part of them.
fn fee_rules(dice: &mut Dice) -> FeeRules {
    let all = FeeRules::default();
    let no_size = SizeModel { size_min_millionths: 0, ..all.size };
    let every_byte = SizeModel { zero_byte_millionths: 400_000, ..all.size };
    let none = FeeRules {
        l1_base_fee_scalar: 0,
        l1_blob_base_fee_scalar: 0,
        operator_fee_scalar: 0,
        operator_fee_constant_wei: 0,
        size: no_size,
    };
    dice.weighted(&[
        (9, all),
        (3, none),
        (2, FeeRules { operator_fee_constant_wei: 3, size: every_byte, ..all }),
        (2, FeeRules { operator_fee_scalar: 1_500_000, ..none }),
        (1, FeeRules { operator_fee_constant_wei: 1, ..none }),
        (2, FeeRules { l1_base_fee_scalar: 1_000_000, ..none }),
        (1, FeeRules { l1_blob_base_fee_scalar: u32::MAX, operator_fee_scalar: u32::MAX, ..all }),
    ])
}

/// Attributes of some L1 block.
pub(crate) fn attributes(dice: &mut Dice, number: u64) -> L1Attributes {
    // The last cannot be paid by anybody.
    let (base_fee_wei, blob_base_fee_wei) = dice.weighted(&[
        (10, (1_000_000_000, 1)),
        (10, (7, 1_000_000)),
        (5, (1_000, 1)),
        (3, (0, 0)),
        (1, (u64::MAX, u128::MAX)),
    ]);
    L1Attributes {
        number,
        timestamp: 1_700_000_000,
        base_fee_wei,
        hash: B256::ZERO,
        sequence_number: dice.below(1 << 30),
        blob_base_fee_wei,
    }
}

/// Accounts being drawn.
#[derive(Debug, Default)]
struct Population {
    accounts: BTreeMap<Address, (Account, BTreeMap<U256, U256>)>,
    codes: BTreeMap<B256, Bytecode>,
}

impl Population {
    fn person(&mut self, address: Address, nonce: u64, balance_wei: U256) {
        let account = Account { nonce, balance_wei, ..Account::default() };
        self.accounts.insert(address, (account, BTreeMap::new()));
    }

    fn code(&mut self, address: Address, code: &Bytes) -> &mut BTreeMap<U256, U256> {
        let code_hash = keccak256(code);
        self.codes.entry(code_hash).or_insert_with(|| Bytecode::new_raw(code.clone()));
        let entry = self.accounts.entry(address).or_default();
        entry.0.code_hash = code_hash;
        entry.0.nonce = entry.0.nonce.max(1);
        &mut entry.1
    }

    fn into_state(self, hashes: impl Iterator<Item = (u64, B256)>) -> MemoryState {
        let mut diff = StateDiff::default();
        for (address, (account, storage)) in self.accounts {
            let slots = storage.into_iter().filter(|(_, value)| !value.is_zero());
            let slots = slots.map(|(slot, after)| (slot, SlotDiff { before: U256::ZERO, after }));
            let after = (!account.is_empty()).then_some(account);
            let change = AccountDiff { before: None, after, wiped: false, slots: slots.collect() };
            diff.accounts.insert(address, change);
        }
        diff.codes = self.codes;
        let mut state = MemoryState::default();
        state.apply(&diff).unwrap();
        hashes.for_each(|(number, hash)| state.set_block_hash(number, hash));
        state
    }
}

/// Draws a world.
pub(crate) fn draw(dice: &mut Dice, size: Size) -> World {
    let rules = Arc::new(rules(dice));
    let spec = rules.spec();
    let mut population = Population::default();
    let mut senders: Vec<_> = (0..authorizations::KEYS).map(authorizations::authority).collect();
    let persons = if size == Size::City { CROWD } else { dice.range(3, 24) };
    senders.extend((0..persons).map(person));
    let beneficiary = beneficiary(dice);
    for (index, sender) in senders.iter().enumerate() {
        let rich = U256::from(RICH_WEI);
        let wei = match dice.below(20) {
            0 if index > 2 => U256::from(dice.below(9_000_000)),
            1 if index > 2 => U256::ZERO,
            _ => rich,
        };
        population.person(*sender, dice.below(4), wei);
    }
    if dice.chance(20) {
        population.person(person(2), u64::MAX, U256::from(RICH_WEI));
    }
    contracts(dice, &mut population);
    if size == Size::City {
        for index in 0..CROWD {
            population.code(own_proxy(index), &proxy(INTERPRETER));
        }
        tokens(&mut population, &senders);
    } else {
        tokens(&mut population, &senders[..senders.len().min(10)]);
    }
    nested(dice, &mut population, spec);
    if spec.is_enabled_in(SpecId::PRAGUE) {
        delegations(dice, &mut population, &senders, beneficiary);
    }
    let number = dice.range(1, 300);
    let hashes = number.saturating_sub(256)..=number;
    let hash = |number: u64| keccak256(number.to_be_bytes());
    let base_fee_wei =
        spec.is_enabled_in(SpecId::LONDON).then(|| dice.pick(&[0, 1, 7, 7, 7, 1_000]));
    World {
        state: population.into_state(hashes.map(|number| (number, hash(number)))),
        rules,
        beneficiary,
        base_fee_wei,
        attributes: None,
        senders,
        number,
        hash: hash(number),
    }
}

/// Anything may receive fees: nobody, a sender, an authority, a contract, a precompile.
fn beneficiary(dice: &mut Dice) -> Address {
    dice.weighted(&[
        (35, address!("0xfee0000000000000000000000000000000000000")),
        (10, Address::ZERO),
        (14, person(0)),
        (12, authorizations::authority(1)),
        (10, PROXIES[0]),
        (5, FORWARDER),
        (5, BOMB),
        (4, TOKENS[0]),
        (5, Address::with_last_byte(2)),
        (4, L1_FEE_VAULT),
        (2, OPERATOR_FEE_VAULT),
    ])
}

fn contracts(dice: &mut Dice, population: &mut Population) {
    static CODES: OnceLock<[Bytes; 7]> = OnceLock::new();
    let [interpreter, proxy, token, counter, forwarder, bomb, gauge] = CODES.get_or_init(|| {
        let token = contracts::token();
        let (counter, forwarder) = (contracts::counter(), contracts::forwarder());
        let (bomb, gauge) = (contracts::bomb(), contracts::gauge());
        [interpreter::code(), proxy(INTERPRETER), token, counter, forwarder, bomb, gauge]
    });
    let first = [(INTERPRETER, interpreter), (COPY, interpreter), (GAUGE, gauge)];
    let proxies = PROXIES.map(|address| (address, proxy));
    for (address, code) in first.into_iter().chain(proxies) {
        let slots = (0..dice.below(12)).map(|_| (dice.pick(slots()), value(dice))).collect();
        *population.code(address, code) = slots;
        population.accounts.entry(address).or_default().0.balance_wei =
            U256::from(dice.below(2_000));
    }
    population.code(TOKENS[0], token);
    population.code(TOKENS[1], token);
    population.code(COUNTER, counter);
    for (address, code) in [(FORWARDER, forwarder), (BOMB, bomb)] {
        let to = value(dice);
        population.code(address, code).insert(U256::ZERO, to);
        population.accounts.entry(address).or_default().0.balance_wei = U256::from(dice.below(50));
    }
    // Nothing is there on a real chain; here something may be, and self-destruct.
    for vault in VAULTS {
        match dice.below(4) {
            0 => drop(population.code(vault, proxy)),
            1 => population.person(vault, dice.below(3), U256::from(dice.pick(&[1, RICH_WEI]))),
            _ => {}
        }
    }
    if dice.chance(40) {
        population.code(eip2935::HISTORY_STORAGE_ADDRESS, &eip2935::HISTORY_STORAGE_CODE);
    }
}

/// A stored word: a number, a slot, or an account that a program may then turn to.
fn value(dice: &mut Dice) -> U256 {
    match dice.below(4) {
        0 => U256::from(dice.below(6)),
        1 => dice.pick(slots()),
        2 => U256::from_be_slice(dice.pick(&PROXIES).as_slice()),
        _ => U256::from_be_slice(person(dice.below(6)).as_slice()),
    }
}

fn tokens(population: &mut Population, holders: &[Address]) {
    for token in TOKENS {
        let storage = &mut population.accounts.entry(token).or_default().1;
        let funded = holders.iter().map(|holder| contracts::balance_slot(*holder));
        storage.extend(funded.map(|slot| (slot, U256::from(1_000))));
    }
}

/// Some nests hold ether before anybody is created there, some are already taken.
fn nested(dice: &mut Dice, population: &mut Population, spec: SpecId) {
    for nest in nests() {
        if dice.chance(10) {
            population.person(nest.address, 0, U256::from(dice.below(100)));
        } else if dice.chance(12) && spec.is_enabled_in(SpecId::PETERSBURG) {
            let stored = [(0, 5), (1, 5), (3, 3), (4, 9)];
            let storage = population.code(nest.address, &proxy(INTERPRETER));
            storage.extend(stored.map(|(slot, value)| (U256::from(slot), U256::from(value))));
        }
    }
}

fn delegations(
    dice: &mut Dice,
    population: &mut Population,
    senders: &[Address],
    beneficiary: Address,
) {
    let some = senders.iter().take(12).filter(|_| dice.chance(25)).copied();
    let mut delegated: Vec<_> = some.collect();
    if dice.chance(30) && senders.contains(&beneficiary) {
        delegated.push(beneficiary);
    }
    for account in delegated {
        let target = delegation_target(dice, account);
        let code = Bytes::from([&[0xef, 0x01, 0x00], target.as_slice()].concat());
        let slots: BTreeMap<_, _> =
            (0..dice.below(4)).map(|_| (dice.pick(slots()), value(dice))).collect();
        *population.code(account, &code) = slots;
    }
}

/// What an authorization may point at: code, no code, a precompile, another delegation, itself.
pub(crate) fn delegation_target(dice: &mut Dice, account: Address) -> Address {
    dice.weighted(&[
        (30, INTERPRETER),
        (10, COPY),
        (10, PROXIES[0]),
        (8, COUNTER),
        (8, FORWARDER),
        (6, BOMB),
        (4, TOKENS[0]),
        (5, authorizations::authority(0)),
        (3, authorizations::authority(2)),
        (3, Address::with_last_byte(4)),
        (3, person(1)),
        (3, account),
        (3, nests()[0].address),
        (4, address!("0x000000000000000000000000000000000000dead")),
    ])
}
