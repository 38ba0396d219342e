//! Blocks: which patterns meet, how many, in which order, and in which environment.
//!
//! Owns the mixtures and the way in which one block follows another. Blocks come in groups of
//! [`GROUP`], drawn from one stream, so that block `i` of a seed is found by drawing its group alone.
//! Inside a group a block follows the one before or stands in a new world, in which everything
//! learned so far is about other code.

use super::{
    dice::Dice,
    intent::{Intent, Post},
    patterns::{self, Pattern, Pattern as P},
    world::{self, Size, World},
};
use alloy::{
    eips::eip4895::Withdrawal,
    primitives::{Address, B256, Bytes, U256},
};
use executor::{BlockEnv, BlockInput, ExecutedBlock, Transaction};
use revm::primitives::hardfork::SpecId;

/// Blocks that share a stream, and knowledge.
pub(crate) const GROUP: u64 = 4;

type Mixture = &'static [(u64, Pattern)];

const EVERYTHING: Mixture = &[
    (14, P::Transfer),
    (10, P::Token),
    (4, P::HotSlot),
    (12, P::Program),
    (6, P::Pointer),
    (4, P::RevertedRead),
    (4, P::Restore),
    (4, P::Drain),
    (4, P::Fund),
    (3, P::Chain),
    (4, P::Fault),
    (4, P::Beneficiary),
    (3, P::Precompile),
    (2, P::Gas),
    (1, P::Blobs),
    (5, P::Rebirth),
    (4, P::Creation),
    (3, P::Delegation),
    (4, P::Delegated),
];
const SLOTS: Mixture = &[
    (5, P::HotSlot),
    (8, P::Pointer),
    (6, P::Token),
    (4, P::Restore),
    (4, P::RevertedRead),
    (3, P::Program),
];
const ETHER: Mixture = &[
    (20, P::Transfer),
    (8, P::Drain),
    (8, P::Fund),
    (6, P::Chain),
    (6, P::Beneficiary),
    (3, P::Fault),
    (3, P::Delegated),
    (2, P::Precompile),
];
const LIVES: Mixture =
    &[(10, P::Rebirth), (6, P::Creation), (3, P::Transfer), (3, P::Program), (2, P::Delegated)];
const CODES: Mixture =
    &[(4, P::Delegation), (6, P::Delegated), (4, P::Transfer), (2, P::Program), (1, P::Rebirth)];
const FAULTS: Mixture = &[
    (10, P::Fault),
    (5, P::Chain),
    (6, P::Transfer),
    (4, P::Blobs),
    (3, P::Program),
    (3, P::Drain),
];
const STRANGERS: Mixture = &[(40, P::Stranger)];
const CROWD: Mixture = &[
    (60, P::Stranger),
    (3, P::Transfer),
    (2, P::Token),
    (1, P::Fault),
    (1, P::Delegated),
    (1, P::Program),
];

/// A group being drawn, block after block.
#[derive(Debug)]
pub(crate) struct Scenario {
    dice: Dice,
    world: World,
    /// The last block gave no state to go on from.
    stands_still: bool,
}

/// A drawn block.
#[derive(Debug)]
pub(crate) struct Block {
    /// Its input.
    pub(crate) input: BlockInput,
    /// Pattern of each transaction.
    pub(crate) patterns: Vec<&'static str>,
    /// An account that cannot be read.
    pub(crate) unreadable: Option<Address>,
    /// Whether the modes know what earlier blocks taught.
    pub(crate) knows: bool,
}

impl Scenario {
    /// The group number `group` of a seed.
    pub(crate) fn new(seed: u64, group: u64) -> Self {
        let mut dice = Dice::new(seed, group);
        let world = new_world(&mut dice);
        Self { dice, world, stands_still: false }
    }

    /// The draws, for what is decided after a block is drawn.
    pub(crate) fn dice(&mut self) -> &mut Dice {
        &mut self.dice
    }

    /// The world of the block that was drawn last.
    pub(crate) fn world(&self) -> &World {
        &self.world
    }

    /// Draws the next block.
    pub(crate) fn draw(&mut self) -> Block {
        let dice = &mut self.dice;
        if self.stands_still || dice.chance(40) {
            self.world = new_world(dice);
        }
        self.stands_still = true;
        self.world.draw_attributes(dice);
        let world = &self.world;
        let is_city = world.senders.len() as u64 > world::CROWD;
        let (mixture, length) = mixture(dice, is_city);
        let sequences = sequences(dice, world, mixture, length);
        let intents = merge(dice, sequences);
        let env = environment(dice, world, intents.iter().map(|intent| intent.gas));
        let mut post = Post::new(world);
        let mut patterns: Vec<_> = intents.iter().map(|intent| intent.pattern).collect();
        let mut transactions: Vec<_> =
            intents.into_iter().map(|intent| post.send(intent, dice)).collect();
        if let Some(first) = world.attributes {
            // A second time they stand anywhere, which is legal here; derivation makes no such block.
            let second = dice.chance(10).then(|| {
                (dice.index(transactions.len() + 1), world::attributes(dice, world.number))
            });
            for (index, attributes) in second.into_iter().chain([(0, first)]) {
                let deposit = Transaction::from_deposit(attributes.to_deposit());
                transactions.insert(index, deposit);
                patterns.insert(index, "attributes");
            }
        }
        let unreadable = dice.chance(2).then(|| super::program::anyone(dice, world));
        let input = BlockInput { rules: world.rules.clone(), env, transactions };
        Block { input, patterns, unreadable, knows: dice.chance(75) }
    }

    /// Moves on to the state after the block.
    pub(crate) fn follow(&mut self, block: &ExecutedBlock) {
        self.world.state.apply_block(block).unwrap();
        self.world.number = block.header.number;
        self.world.hash = block.hash;
        self.stands_still = false;
    }
}

fn new_world(dice: &mut Dice) -> World {
    let size = if dice.chance(12) { Size::City } else { Size::Village };
    world::draw(dice, size)
}

/// What a block is made of, and of how many transactions about.
fn mixture(dice: &mut Dice, is_city: bool) -> (Mixture, usize) {
    let length = match dice.below(40) {
        0 => dice.range(100, 200),
        1..=4 => dice.range(1, 3),
        _ => dice.range(4, 50),
    } as usize;
    if is_city {
        let mixture = dice.weighted(&[(2, STRANGERS), (4, CROWD), (1, EVERYTHING)]);
        let length = dice.weighted(&[(6, 40), (6, 120), (1, 400)]);
        return (mixture, length);
    }
    let mixture = dice.weighted(&[
        (12, EVERYTHING),
        (4, SLOTS),
        (4, ETHER),
        (3, LIVES),
        (2, CODES),
        (2, FAULTS),
    ]);
    (mixture, length)
}

fn sequences(dice: &mut Dice, world: &World, mixture: Mixture, length: usize) -> Vec<Vec<Intent>> {
    let mut sequences = Vec::new();
    let mut drawn = 0;
    if world.is_rollup() || dice.chance(2) {
        // Deposits come first, as derivation puts them; now and then anywhere, which is legal here.
        let deposits = dice.below(4);
        let deposits = (0..deposits).flat_map(|_| patterns::draw(P::Deposit, dice, world));
        sequences.push(deposits.collect());
    }
    while drawn < length {
        let sequence = patterns::draw(dice.weighted(mixture), dice, world);
        drawn += sequence.len();
        sequences.push(sequence);
    }
    sequences
}

/// Puts sequences behind each other, or shuffles them together with each kept in order.
fn merge(dice: &mut Dice, mut sequences: Vec<Vec<Intent>>) -> Vec<Intent> {
    if dice.chance(35) {
        return sequences.into_iter().flatten().collect();
    }
    sequences.iter_mut().for_each(|sequence| sequence.reverse());
    let mut merged = Vec::new();
    // Only a window is open at a time: what belongs together stays near.
    let window = dice.pick(&[2, 4, 12]);
    while !sequences.is_empty() {
        let open = sequences.len().min(window);
        let index = dice.index(open);
        match sequences[index].pop() {
            Some(intent) => merged.push(intent),
            None => drop(sequences.remove(index)),
        }
    }
    merged
}

fn environment(dice: &mut Dice, world: &World, gas: impl Iterator<Item = u64>) -> BlockEnv {
    let has = |spec| world.has(spec);
    let merged = has(SpecId::MERGE);
    let wanted: u64 = gas.fold(0, u64::saturating_add).min(1 << 40);
    // Tight blocks are full somewhere in the middle.
    let gas_limit = if dice.chance(12) { 60_000 + wanted / dice.range(2, 30) } else { 1 << 40 };
    let withdrawals =
        (0..if dice.chance(20) { dice.range(1, 3) } else { 0 }).map(|index| Withdrawal {
            index,
            validator_index: 1,
            address: super::program::anyone(dice, world),
            amount: dice.below(3),
        });
    let withdrawals: Vec<_> = if world.is_rollup() { Vec::new() } else { withdrawals.collect() };
    BlockEnv {
        number: world.number + 1,
        parent_hash: world.hash,
        timestamp: 1_700_000_000 + world.number,
        beneficiary: world.beneficiary,
        gas_limit,
        base_fee_wei: world.base_fee_wei,
        prevrandao: B256::repeat_byte(dice.byte(255)),
        difficulty: if merged { U256::ZERO } else { U256::from(131_072) },
        parent_beacon_block_root: has(SpecId::CANCUN).then_some(B256::ZERO),
        excess_blob_gas: has(SpecId::CANCUN).then_some(0),
        withdrawals: has(SpecId::SHANGHAI).then_some(withdrawals),
        ommers: Vec::new(),
        extra_data: Bytes::new(),
    }
}
