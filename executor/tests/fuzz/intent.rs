//! What somebody means to do, and the transaction it becomes.
//!
//! Owns the envelope: type, nonce, fee, access list, authorizations, and every way in which these can
//! be wrong. Nonces are given when the order is final, from a guess of what each sender's will be: a
//! guess that fails gives the invalid transactions which a real pool sees. Signatures are dummies,
//! because the sender is given; those of authorizations are real.

use super::{
    authorizations,
    dice::Dice,
    world::{CHAIN_ID, RICH_WEI, World},
};
use alloy::{
    consensus::{SignableTransaction, TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxLegacy},
    eips::{
        Encodable2718,
        eip2930::{AccessList, AccessListItem},
        eip7702::SignedAuthorization,
    },
    primitives::{Address, B256, Bytes, Signature, TxKind, U256},
};
use executor::{Deposit, StateView, Transaction, transaction::SignedTransaction};
use revm::primitives::hardfork::SpecId;
use std::collections::BTreeMap;

/// A way in which a transaction is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    NonceLow,
    NonceHigh,
    NonceMax,
    ChainId,
    Intrinsic,
    Floor,
    FeeBelowBase,
    TipAboveFee,
    GasAboveCap,
    GasAboveBlock,
    InitCode,
    NoAuthorizations,
    NoBlobs,
    BlobVersion,
    BlobFee,
    Overflow,
    Funds,
}

/// Every fault.
pub(crate) const FAULTS: [Fault; 17] = [
    Fault::NonceLow,
    Fault::NonceHigh,
    Fault::NonceMax,
    Fault::ChainId,
    Fault::Intrinsic,
    Fault::Floor,
    Fault::FeeBelowBase,
    Fault::TipAboveFee,
    Fault::GasAboveCap,
    Fault::GasAboveBlock,
    Fault::InitCode,
    Fault::NoAuthorizations,
    Fault::NoBlobs,
    Fault::BlobVersion,
    Fault::BlobFee,
    Fault::Overflow,
    Fault::Funds,
];

/// An authorization that is wanted; its nonce is known when the order is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delegation {
    /// Key that signs.
    pub(crate) key: usize,
    /// Target; zero clears.
    pub(crate) target: Address,
    /// Chain id signed; zero is any.
    pub(crate) chain_id: u64,
    /// How far the nonce is off.
    pub(crate) nonce_off: u64,
    /// The signature is nobody's.
    pub(crate) forged: bool,
}

/// What somebody means to do.
#[derive(Clone, Debug)]
pub(crate) struct Intent {
    /// Name of the pattern, for the tally.
    pub(crate) pattern: &'static str,
    /// Sender.
    pub(crate) from: Address,
    /// Recipient, or creation.
    pub(crate) to: TxKind,
    /// Value.
    pub(crate) value: U256,
    /// Call data or init code.
    pub(crate) input: Bytes,
    /// Gas limit.
    pub(crate) gas: u64,
    /// What is wrong with it.
    pub(crate) fault: Option<Fault>,
    /// Authorizations; any make it a type 4.
    pub(crate) delegations: Vec<Delegation>,
    /// Blobs; any make it a type 3.
    pub(crate) blobs: usize,
    /// A deposit that mints so much.
    pub(crate) mint: Option<u128>,
    /// A legacy transaction at this price; for those that count their wei.
    pub(crate) price: Option<u128>,
}

impl Intent {
    /// A call.
    pub(crate) fn call(pattern: &'static str, from: Address, to: Address, input: Bytes) -> Self {
        Self {
            pattern,
            from,
            to: to.into(),
            value: U256::ZERO,
            input,
            gas: 300_000,
            fault: None,
            delegations: Vec::new(),
            blobs: 0,
            mint: None,
            price: None,
        }
    }

    /// A transfer of so many wei.
    pub(crate) fn transfer(pattern: &'static str, from: Address, to: Address, wei: U256) -> Self {
        Self { value: wei, gas: 21_000, ..Self::call(pattern, from, to, Bytes::new()) }
    }

    /// A creation.
    pub(crate) fn create(pattern: &'static str, from: Address, init: Bytes) -> Self {
        Self { to: TxKind::Create, gas: 600_000, ..Self::call(pattern, from, Address::ZERO, init) }
    }

    /// The same with other gas.
    pub(crate) fn with_gas(self, gas: u64) -> Self {
        Self { gas, ..self }
    }

    /// The same with a value.
    pub(crate) fn with_value(self, wei: u64) -> Self {
        Self { value: U256::from(wei), ..self }
    }

    /// The same with a fault.
    pub(crate) fn with_fault(self, fault: Fault) -> Self {
        Self { fault: Some(fault), ..self }
    }
}

/// Guesses every account's next nonce.
#[derive(Debug, Default)]
pub(crate) struct Nonces(BTreeMap<Address, u64>);

impl Nonces {
    /// The guess.
    pub(crate) fn next(&mut self, world: &World, account: Address) -> &mut u64 {
        let known = || world.state.account(account).unwrap().unwrap_or_default().nonce;
        self.0.entry(account).or_insert_with(known)
    }
}

struct Fees {
    max: u128,
    tip: u128,
}

/// Puts intents into envelopes, in the order of the block.
#[derive(Debug)]
pub(crate) struct Post<'w> {
    world: &'w World,
    nonces: Nonces,
    sent: u64,
}

impl<'w> Post<'w> {
    /// At the start of a block.
    pub(crate) fn new(world: &'w World) -> Self {
        Self { world, nonces: Nonces::default(), sent: 0 }
    }

    /// The transaction of an intent.
    pub(crate) fn send(&mut self, mut intent: Intent, dice: &mut Dice) -> Transaction {
        self.sent += 1;
        if let Some(mint_wei) = intent.mint {
            return self.deposit(&intent, mint_wei);
        }
        if intent.fault.is_none() && dice.chance(97) {
            let creation = intent.to.is_create();
            intent.gas = intent.gas.max(intrinsic_gas(&intent.input, creation));
        }
        fail(&mut intent, self.world);
        let nonce = self.nonce(&intent);
        let authorizations = self.authorize(&intent);
        let signed = self.envelope(&intent, nonce, authorizations, dice);
        Transaction::from_signed(signed, intent.from)
    }

    /// Bytes of a protected legacy transfer of 21,000 gas, as its sender sends it.
    pub(crate) fn legacy_transfer(nonce: u64, price: u128, to: Address, wei: U256) -> Vec<u8> {
        let signed = seal(TxLegacy {
            chain_id: Some(CHAIN_ID),
            nonce,
            gas_price: price,
            gas_limit: 21_000,
            to: to.into(),
            value: wei,
            input: Bytes::new(),
        });
        signed.encoded_2718()
    }

    fn deposit(&mut self, intent: &Intent, mint_wei: u128) -> Transaction {
        let next = self.nonces.next(self.world, intent.from);
        *next = next.saturating_add(1);
        let source = [U256::from(self.world.number), U256::from(self.sent)];
        Transaction::from_deposit(Deposit {
            source_hash: alloy::primitives::keccak256(source.map(B256::from).concat()),
            from: intent.from,
            to: intent.to,
            mint_wei,
            value: intent.value,
            gas_limit: intent.gas,
            input: intent.input.clone(),
        })
    }

    fn nonce(&mut self, intent: &Intent) -> u64 {
        let next = self.nonces.next(self.world, intent.from);
        let guess = *next;
        match intent.fault {
            None => *next = guess.saturating_add(1),
            Some(Fault::NonceLow) => return guess.saturating_sub(1),
            Some(Fault::NonceHigh) => return guess.saturating_add(1),
            Some(Fault::NonceMax) => return u64::MAX,
            _ => {}
        }
        guess
    }

    fn authorize(&mut self, intent: &Intent) -> Vec<SignedAuthorization> {
        let mut list = Vec::new();
        for wanted in &intent.delegations {
            let next = self.nonces.next(self.world, authorizations::authority(wanted.key));
            let nonce = next.saturating_add(wanted.nonce_off);
            if wanted.forged {
                list.push(authorizations::forged(wanted.chain_id, wanted.target, nonce));
                continue;
            }
            list.push(authorizations::signed(wanted.key, wanted.chain_id, wanted.target, nonce));
            if wanted.nonce_off == 0 && [0, CHAIN_ID].contains(&wanted.chain_id) {
                *next = nonce.saturating_add(1);
            }
        }
        list
    }

    fn fees(&self, intent: &Intent, dice: &mut Dice) -> Fees {
        let base = u128::from(self.world.base_fee_wei.unwrap_or(0));
        let tip = dice.pick(&[0, 0, 1, 1, 3, 100]);
        let headroom = dice.pick(&[0, 0, 1, 50, 10_000]);
        match intent.fault {
            Some(Fault::FeeBelowBase) => Fees { max: base.saturating_sub(1), tip: 0 },
            Some(Fault::TipAboveFee) => Fees { max: base + 1, tip: base + 2 },
            Some(Fault::Overflow) => Fees { max: u128::MAX, tip: 1 },
            _ => Fees { max: base + tip.max(headroom), tip },
        }
    }

    fn envelope(
        &self,
        intent: &Intent,
        nonce: u64,
        authorizations: Vec<SignedAuthorization>,
        dice: &mut Dice,
    ) -> SignedTransaction {
        let fees = self.fees(intent, dice);
        let ty = self.ty(intent, !authorizations.is_empty(), dice);
        let access_list = if ty == 0 { AccessList::default() } else { access_list(intent, dice) };
        let for_list = if intent.fault.is_none() && dice.chance(95) {
            access_list_gas(&access_list)
        } else {
            0
        };
        let cover = Cover {
            chain_id: if intent.fault == Some(Fault::ChainId) { 1 } else { CHAIN_ID },
            nonce,
            gas_limit: intent.gas.saturating_add(for_list),
            gas_price: intent.price.unwrap_or(fees.max),
            fees,
            access_list,
        };
        match ty {
            0 => cover.legacy(intent, dice.chance(80)),
            1 => cover.eip2930(intent),
            2 => cover.eip1559(intent),
            3 => cover.eip4844(intent),
            _ => cover.eip7702(intent, authorizations),
        }
    }

    /// The type; now and then one that the hardfork does not know.
    fn ty(&self, intent: &Intent, authorized: bool, dice: &mut Dice) -> u8 {
        let early = dice.chance(1);
        match intent.fault {
            Some(Fault::NoAuthorizations) => return 4,
            Some(Fault::NoBlobs | Fault::BlobVersion | Fault::BlobFee) => return 3,
            Some(Fault::TipAboveFee) => return 2,
            _ => {}
        }
        if authorized {
            4
        } else if intent.blobs > 0 {
            3
        } else if intent.price.is_some() {
            0
        } else if self.world.has(SpecId::LONDON) || early {
            dice.weighted(&[(3, 0), (2, 1), (6, 2)])
        } else if self.world.has(SpecId::BERLIN) {
            dice.pick(&[0, 1])
        } else {
            0
        }
    }
}

/// What the types share and an intent does not say.
struct Cover {
    chain_id: u64,
    nonce: u64,
    gas_limit: u64,
    gas_price: u128,
    fees: Fees,
    access_list: AccessList,
}

/// Nobody's signature.
fn seal<T: SignableTransaction<Signature>>(transaction: T) -> SignedTransaction
where
    SignedTransaction: From<alloy::consensus::Signed<T>>,
{
    transaction.into_signed(Signature::new(U256::ONE, U256::ONE, false)).into()
}

impl Cover {
    fn legacy(self, intent: &Intent, protected: bool) -> SignedTransaction {
        seal(TxLegacy {
            chain_id: (self.chain_id != CHAIN_ID || protected).then_some(self.chain_id),
            nonce: self.nonce,
            gas_price: self.gas_price,
            gas_limit: self.gas_limit,
            to: intent.to,
            value: intent.value,
            input: intent.input.clone(),
        })
    }

    fn eip2930(self, intent: &Intent) -> SignedTransaction {
        seal(TxEip2930 {
            chain_id: self.chain_id,
            nonce: self.nonce,
            gas_price: self.gas_price,
            gas_limit: self.gas_limit,
            to: intent.to,
            value: intent.value,
            access_list: self.access_list,
            input: intent.input.clone(),
        })
    }

    fn eip1559(self, intent: &Intent) -> SignedTransaction {
        seal(TxEip1559 {
            chain_id: self.chain_id,
            nonce: self.nonce,
            gas_limit: self.gas_limit,
            max_fee_per_gas: self.fees.max,
            max_priority_fee_per_gas: self.fees.tip,
            to: intent.to,
            value: intent.value,
            access_list: self.access_list,
            input: intent.input.clone(),
        })
    }

    fn eip4844(self, intent: &Intent) -> SignedTransaction {
        seal(TxEip4844 {
            chain_id: self.chain_id,
            nonce: self.nonce,
            gas_limit: self.gas_limit,
            max_fee_per_gas: self.fees.max,
            max_priority_fee_per_gas: self.fees.tip,
            to: intent.to.to().copied().unwrap_or_default(),
            value: intent.value,
            access_list: self.access_list,
            blob_versioned_hashes: blobs(intent),
            max_fee_per_blob_gas: if intent.fault == Some(Fault::BlobFee) { 0 } else { 1_000 },
            input: intent.input.clone(),
        })
    }

    fn eip7702(self, intent: &Intent, list: Vec<SignedAuthorization>) -> SignedTransaction {
        seal(TxEip7702 {
            chain_id: self.chain_id,
            nonce: self.nonce,
            gas_limit: self.gas_limit,
            max_fee_per_gas: self.fees.max,
            max_priority_fee_per_gas: self.fees.tip,
            to: intent.to.to().copied().unwrap_or_default(),
            value: intent.value,
            access_list: self.access_list,
            authorization_list: list,
            input: intent.input.clone(),
        })
    }
}

/// Makes the intent as wrong as its fault says, where more than a field of the envelope is.
fn fail(intent: &mut Intent, world: &World) {
    match intent.fault {
        Some(Fault::Intrinsic) => {
            intent.gas = intrinsic_gas(&intent.input, intent.to.is_create()) - 1;
        }
        Some(Fault::Floor) => {
            // 200 bytes that are not zero: 24,200 gas before the call, 29,000 at least.
            intent.input = vec![1; 200].into();
            intent.gas = 25_000;
        }
        Some(Fault::GasAboveCap) => intent.gas = (1 << 24) + 1,
        Some(Fault::GasAboveBlock) => intent.gas = u64::MAX / 2,
        Some(Fault::InitCode) => {
            intent.to = TxKind::Create;
            intent.input = vec![0; 49_153].into();
            intent.gas = 2_000_000;
        }
        Some(Fault::Overflow) => intent.value = U256::MAX,
        Some(Fault::Funds) => intent.value = U256::from(RICH_WEI) * U256::from(4),
        Some(Fault::FeeBelowBase) if world.base_fee_wei.is_none() => intent.fault = None,
        _ => {}
    }
}

/// Gas before the first instruction, at the prices of the youngest hardfork or a little more.
fn intrinsic_gas(input: &[u8], creation: bool) -> u64 {
    let zeros = input.iter().filter(|byte| **byte == 0).count() as u64;
    let rest = input.len() as u64 - zeros;
    let words = (input.len() as u64).div_ceil(32);
    let creation = if creation { 32_000 + 2 * words } else { 0 };
    21_000 + (zeros * 10 + rest * 68).max(zeros * 10 + rest * 40) + creation
}

fn access_list_gas(list: &AccessList) -> u64 {
    list.0.iter().map(|item| 2_400 + 1_900 * item.storage_keys.len() as u64).sum()
}

fn access_list(intent: &Intent, dice: &mut Dice) -> AccessList {
    if !dice.chance(20) {
        return AccessList::default();
    }
    let item = |address: Address, dice: &mut Dice| AccessListItem {
        address,
        storage_keys: (0..dice.below(4)).map(|_| B256::from(super::program::slot(dice))).collect(),
    };
    let first = item(intent.to.to().copied().unwrap_or(intent.from), dice);
    let second = item(dice.pick(&super::world::PROXIES), dice);
    AccessList(if dice.chance(50) { vec![first] } else { vec![first, second] })
}

fn blobs(intent: &Intent) -> Vec<B256> {
    let version = if intent.fault == Some(Fault::BlobVersion) { 2 } else { 1 };
    let count = match intent.fault {
        Some(Fault::NoBlobs) => 0,
        Some(_) => intent.blobs.max(1),
        None => intent.blobs,
    };
    let hash = |index: usize| {
        let mut hash = B256::with_last_byte(index as u8);
        hash[0] = version;
        hash
    };
    (0..count).map(hash).collect()
}
