//! What a user's transaction costs beside its gas: the fee for its data on L1, and the operator fee.
//!
//! Owns the model of how many bytes a transaction takes on L1, the price of a byte, both fees, and
//! where their parameters stand in the storage of the predeploys. Charges nobody: the handler in
//! `evm` and the plain transfer of the lanes do, by these functions. Everything follows from the
//! chain's rules and the L1 attributes that open a block. Integers only; nothing overflows.
//!
//! Source of shape and names: OP Stack specification, "L1-Cost fees" (Fjord) and "Operator fee"
//! (Isthmus). Different is the model of the size, see [`SizeModel`]. The GasPriceOracle predeploy
//! computes the same in Solidity; `tests/fee_oracle.rs` compares them.

#[cfg(feature = "std")]
use crate::block::BlockEnv;
use crate::{
    deposit::{L1_BLOCK_ADDRESS, L1Attributes},
    error::ViewError,
    rules::ChainRules,
    state::{Overlay, StateView},
    transaction::Transaction,
};
use alloc::vec::Vec;
use alloy_primitives::{Address, U256, address};
use revm::Database;
use serde::{Deserialize, Serialize};

/// Predeploy address that collects L1 data fees, as on the OP Stack. It has no code: what may be
/// done with the ether is not decided yet.
pub const L1_FEE_VAULT: Address = address!("0x420000000000000000000000000000000000001A");
/// Predeploy address that collects operator fees, as on the OP Stack. It has no code either.
pub const OPERATOR_FEE_VAULT: Address = address!("0x420000000000000000000000000000000000001B");
/// Predeploy that answers what these fees are.
pub const GAS_PRICE_ORACLE_ADDRESS: Address =
    address!("0x420000000000000000000000000000000000000F");

/// Bytes that signing adds to the serialized transaction at most, none of them zero: `y_parity`, `r`
/// and `s` with their RLP prefixes (67), and one byte more for the length of the list.
pub const SIGNATURE_BYTES_MAX: u64 = 68;
/// Zero bytes that signing can turn into others: the lower two of the list's length. In a legacy
/// transaction, whose signature is at least one byte shorter, also zeros within the chain id.
pub const SIGNATURE_CHANGED_BYTES_MAX: u64 = 2;

/// Calldata gas of a byte that is not zero (EIP-2028); the L1 base fee's scalar is relative to it.
const CALLDATA_BYTE_GAS: u64 = 16;
/// Sizes and scalars are in millionths.
const MILLION: u64 = 1_000_000;
/// Slots of the L1Block predeploy, those of the OP Stack's.
const L1_BASE_FEE_SLOT: U256 = U256::from_limbs([1, 0, 0, 0]);
const SCALARS_SLOT: U256 = U256::from_limbs([3, 0, 0, 0]);
const L1_BLOB_BASE_FEE_SLOT: U256 = U256::from_limbs([7, 0, 0, 0]);
const OPERATOR_FEE_SLOT: U256 = U256::from_limbs([8, 0, 0, 0]);
/// Slot of the GasPriceOracle predeploy with the size model.
const SIZE_MODEL_SLOT: U256 = U256::ZERO;

/// Parameters of both fees; part of the chain's rules, and so fixed by genesis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct FeeRules {
    /// Weight of the L1 base fee: sixteenths of L1 gas for a byte that is posted, in millionths.
    pub l1_base_fee_scalar: u32,
    /// Weight of the L1 blob base fee: blob gas for a byte that is posted, in millionths.
    pub l1_blob_base_fee_scalar: u32,
    /// Operator fee for each gas, in millionths of a wei.
    pub operator_fee_scalar: u32,
    /// Operator fee for each transaction, in wei.
    pub operator_fee_constant_wei: u64,
    /// How many bytes of what is posted a transaction takes.
    pub size: SizeModel,
}

impl Default for FeeRules {
    /// A blob holds 126,976 bytes for 131,072 blob gas: 1.033 a byte, and a little for blobs that
    /// are not full. An append of one blob takes about 80,000 gas of L1: 0.63 a byte, divided by 16.
    /// The operator fee is a thousandth of the lowest base fee, and for each transaction what 10,000
    /// gas pay of it.
    fn default() -> Self {
        Self {
            l1_base_fee_scalar: 40_000,
            l1_blob_base_fee_scalar: 1_100_000,
            operator_fee_scalar: 1_000_000_000,
            operator_fee_constant_wei: 10_000_000,
            size: SizeModel::default(),
        }
    }
}

/// The compressed size of a transaction, estimated: a sum over its bytes.
///
/// A byte that is not zero takes nearly a byte after compression among other transactions: most are
/// signatures, addresses and hashes. Zeros take nearly nothing. Fitted to whole channels in columns
/// (batch format 1, brotli 10): real transactions of three chains, generated transfers and ERC-20
/// transfers (`make bench-batch`). On each of the five the sum of the estimates is within 5 percent of
/// the bytes posted. Unlike FastLZ, on which the OP Stack's estimate rests, a sum can be bounded before
/// the signature is known, and takes a hundredth of the time.
///
/// To be fitted again when the format of batches changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct SizeModel {
    /// For a zero byte, in millionths of a byte; at most `other_byte_millionths`.
    pub zero_byte_millionths: u32,
    /// For any other byte, in millionths of a byte.
    pub other_byte_millionths: u32,
    /// Taken off every transaction, in millionths of a byte: what is the same in most.
    pub discount_millionths: u32,
    /// The least there is, in millionths of a byte: a transfer to somebody who is known.
    pub size_min_millionths: u32,
}

impl Default for SizeModel {
    fn default() -> Self {
        Self {
            zero_byte_millionths: 0,
            other_byte_millionths: 860_000,
            discount_millionths: 35_000_000,
            size_min_millionths: 80_000_000,
        }
    }
}

impl SizeModel {
    /// Estimated size of a signed transaction's EIP-2718 bytes, in millionths of a byte.
    #[must_use]
    pub fn signed_millionths(&self, raw: &[u8]) -> u64 {
        let (zeros, others) = count(raw);
        self.millionths(zeros, others)
    }

    /// The same before it is signed: never below the size once it is, except for a legacy
    /// transaction of a chain whose id has more than three zero bytes.
    #[must_use]
    pub fn unsigned_millionths(&self, unsigned: &[u8]) -> u64 {
        let (zeros, others) = count(unsigned);
        self.millionths(zeros, others + SIGNATURE_BYTES_MAX + SIGNATURE_CHANGED_BYTES_MAX)
    }

    fn millionths(&self, zeros: u64, others: u64) -> u64 {
        let zeros = zeros.saturating_mul(self.zero_byte_millionths.into());
        let others = others.saturating_mul(self.other_byte_millionths.into());
        zeros
            .saturating_add(others)
            .saturating_sub(self.discount_millionths.into())
            .max(self.size_min_millionths.into())
    }
}

/// Bytes that are zero, and others.
fn count(bytes: &[u8]) -> (u64, u64) {
    let others = bytes.iter().filter(|byte| **byte != 0).count() as u64;
    (bytes.len() as u64 - others, others)
}

impl FeeRules {
    /// What genesis writes into the storage of a predeploy, so that the oracle answers by these
    /// parameters: slots and values, none for any other address.
    #[must_use]
    pub fn storage_of(&self, predeploy: Address) -> Vec<(U256, U256)> {
        let word = |low: u64, second: u32, third: u32| {
            let high = u64::from(second) | u64::from(third) << 32;
            U256::from_limbs([low, high, 0, 0])
        };
        match predeploy {
            L1_BLOCK_ADDRESS => alloc::vec![
                (SCALARS_SLOT, word(0, self.l1_blob_base_fee_scalar, self.l1_base_fee_scalar)),
                (
                    OPERATOR_FEE_SLOT,
                    word(self.operator_fee_constant_wei, self.operator_fee_scalar, 0)
                ),
            ],
            GAS_PRICE_ORACLE_ADDRESS => {
                let SizeModel {
                    zero_byte_millionths: zero,
                    other_byte_millionths: other,
                    discount_millionths: discount,
                    size_min_millionths: min,
                } = self.size;
                let low = u64::from(zero) | u64::from(other) << 32;
                alloc::vec![(SIZE_MODEL_SLOT, word(low, discount, min))]
            }
            _ => Vec::new(),
        }
    }
}

/// The fees in force for the transactions of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeeSchedule {
    rules: FeeRules,
    l1_base_fee_wei: u64,
    l1_blob_base_fee_wei: u128,
    /// Price of a byte on L1, in millionths of a wei.
    byte_price: U256,
}

impl FeeSchedule {
    /// The fees where L1 has these base fees, in wei.
    #[must_use]
    pub fn new(rules: &FeeRules, l1_base_fee_wei: u64, l1_blob_base_fee_wei: u128) -> Self {
        let execution = U256::from(CALLDATA_BYTE_GAS * u64::from(rules.l1_base_fee_scalar))
            * U256::from(l1_base_fee_wei);
        let blob = U256::from(rules.l1_blob_base_fee_scalar) * U256::from(l1_blob_base_fee_wei);
        Self { rules: *rules, l1_base_fee_wei, l1_blob_base_fee_wei, byte_price: execution + blob }
    }

    /// The fees that a transaction puts in force for those after it in its block: the L1 attributes,
    /// which open every rollup block, do. `None` for any other transaction, and on Ethereum. In a
    /// block that does not begin with them neither fee is charged; derivation makes no such block.
    #[must_use]
    pub fn set_by(rules: &ChainRules, transaction: &Transaction) -> Option<Self> {
        let ChainRules::Rollup(rollup) = rules else { return None };
        let attributes = L1Attributes::from_deposit(transaction.as_deposit()?)?;
        let L1Attributes { base_fee_wei, blob_base_fee_wei, .. } = attributes;
        Some(Self::new(&rollup.fees, base_fee_wei, blob_base_fee_wei))
    }

    /// The fees by what the L1Block predeploy of a state says of L1: those of the block that left
    /// the state, and of the next one if its L1 origin is the same. `None` on Ethereum.
    ///
    /// # Errors
    /// [`ViewError`] when the state cannot be read.
    pub fn of_state<V: StateView>(rules: &ChainRules, view: &V) -> Result<Option<Self>, ViewError> {
        Self::read(rules, |slot| view.slot(L1_BLOCK_ADDRESS, slot))
    }

    /// [`Self::of_state`] under state overrides.
    ///
    /// # Errors
    /// [`ViewError`] when the state cannot be read.
    pub fn of_overlay<V: StateView>(
        rules: &ChainRules,
        overlay: &mut Overlay<'_, V>,
    ) -> Result<Option<Self>, ViewError> {
        Self::read(rules, |slot| overlay.storage(L1_BLOCK_ADDRESS, slot))
    }

    fn read(
        rules: &ChainRules,
        mut slot: impl FnMut(U256) -> Result<U256, ViewError>,
    ) -> Result<Option<Self>, ViewError> {
        let ChainRules::Rollup(rollup) = rules else { return Ok(None) };
        let base_fee_wei = slot(L1_BASE_FEE_SLOT)?.saturating_to();
        let blob_base_fee_wei = slot(L1_BLOB_BASE_FEE_SLOT)?.saturating_to();
        Ok(Some(Self::new(&rollup.fees, base_fee_wei, blob_base_fee_wei)))
    }

    /// Parameters.
    #[must_use]
    pub fn rules(&self) -> &FeeRules {
        &self.rules
    }

    /// L1 base fee in wei.
    #[must_use]
    pub fn l1_base_fee_wei(&self) -> u64 {
        self.l1_base_fee_wei
    }

    /// L1 blob base fee in wei.
    #[must_use]
    pub fn l1_blob_base_fee_wei(&self) -> u128 {
        self.l1_blob_base_fee_wei
    }

    /// L1 data fee of a signed transaction's EIP-2718 bytes, in wei.
    #[must_use]
    pub fn l1_fee_wei(&self, raw: &[u8]) -> U256 {
        self.price(self.rules.size.signed_millionths(raw))
    }

    /// The same before it is signed; never below it, as [`SizeModel::unsigned_millionths`].
    #[must_use]
    pub fn l1_fee_unsigned_wei(&self, unsigned: &[u8]) -> U256 {
        self.price(self.rules.size.unsigned_millionths(unsigned))
    }

    /// Below 2^64 millionths at below 2^161 millionths of a wei: no overflow.
    fn price(&self, size_millionths: u64) -> U256 {
        U256::from(size_millionths) * self.byte_price / U256::from(MILLION * MILLION)
    }

    /// Calldata gas of as many bytes as the transaction is estimated to take on L1, as receipts show
    /// it.
    #[must_use]
    pub fn l1_gas_used(&self, raw: &[u8]) -> u64 {
        self.rules.size.signed_millionths(raw).saturating_mul(CALLDATA_BYTE_GAS) / MILLION
    }

    /// Operator fee of a transaction that uses so much gas, in wei.
    #[must_use]
    pub fn operator_fee_wei(&self, gas: u64) -> U256 {
        let scaled = u128::from(gas) * u128::from(self.rules.operator_fee_scalar);
        U256::from(scaled / u128::from(MILLION)) + U256::from(self.rules.operator_fee_constant_wei)
    }

    /// What the sender of a signed transaction must hold beside gas limit x price + value, in wei:
    /// the L1 data fee, and the operator fee for all of the gas limit.
    #[must_use]
    pub fn extra_fee_wei(&self, raw: &[u8], gas_limit: u64) -> U256 {
        self.l1_fee_wei(raw).saturating_add(self.operator_fee_wei(gas_limit))
    }

    /// [`Self::extra_fee_wei`] of a signed transaction; zero where no fees are in force.
    #[must_use]
    pub fn extra_fee_under(fees: Option<&Self>, transaction: &Transaction) -> U256 {
        let (raw, gas_limit) = (transaction.raw(), transaction.gas_limit());
        fees.map_or(U256::ZERO, |fees| fees.extra_fee_wei(raw, gas_limit))
    }

    /// [`Self::extra_fee_wei`] where the L1 data fee is known.
    pub(crate) fn extra_wei(&self, l1_wei: U256, gas: u64) -> U256 {
        l1_wei.saturating_add(self.operator_fee_wei(gas))
    }

    /// The part of both fees that does not depend on gas.
    pub(crate) fn extra_fixed_wei(&self, l1_wei: U256) -> U256 {
        self.extra_wei(l1_wei, 0)
    }

    pub(crate) fn charge(&self, raw: &[u8], gas_limit: u64) -> Charge {
        self.charge_of(self.l1_fee_wei(raw), gas_limit)
    }

    pub(crate) fn charge_of(&self, l1_wei: U256, gas_limit: u64) -> Charge {
        let operator_max_wei = self.operator_fee_wei(gas_limit);
        Charge { fees: *self, l1_wei, operator_max_wei }
    }
}

/// What one transaction is charged beside its gas.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Charge {
    fees: FeeSchedule,
    /// L1 data fee.
    pub(crate) l1_wei: U256,
    /// Operator fee for all of its gas limit.
    pub(crate) operator_max_wei: U256,
}

impl Charge {
    /// What is taken before it runs.
    pub(crate) fn upfront_wei(&self) -> U256 {
        self.l1_wei.saturating_add(self.operator_max_wei)
    }

    /// Operator fee for the gas that it used.
    pub(crate) fn operator_wei(&self, gas_used: u64) -> U256 {
        self.fees.operator_fee_wei(gas_used)
    }
}

/// What a transaction pays, and to whom; base fees are burnt and not among it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Payout {
    /// To the beneficiary.
    pub(crate) priority_wei: U256,
    /// To [`L1_FEE_VAULT`].
    pub(crate) l1_wei: U256,
    /// To [`OPERATOR_FEE_VAULT`].
    pub(crate) operator_wei: U256,
}

impl Payout {
    /// The vaults that get something, and what.
    pub(crate) fn to_vaults(self) -> impl Iterator<Item = (Address, U256)> {
        let all = [(L1_FEE_VAULT, self.l1_wei), (OPERATOR_FEE_VAULT, self.operator_wei)];
        all.into_iter().filter(|(_, wei)| !wei.is_zero())
    }
}

/// The accounts that transactions pay fees to. Credits commute: helpers of the parallel executor
/// leave them out, and may know nothing of these accounts.
#[cfg(feature = "std")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct FeeAccounts {
    pub(crate) beneficiary: Address,
    has_vaults: bool,
}

#[cfg(feature = "std")]
impl FeeAccounts {
    pub(crate) fn new(rules: &ChainRules, env: &BlockEnv) -> Self {
        let has_vaults = matches!(rules, ChainRules::Rollup(_));
        Self { beneficiary: env.beneficiary, has_vaults }
    }

    pub(crate) fn contains(&self, address: Address) -> bool {
        let is_vault = || address == L1_FEE_VAULT || address == OPERATOR_FEE_VAULT;
        address == self.beneficiary || (self.has_vaults && is_vault())
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = Address> {
        let vaults = [L1_FEE_VAULT, OPERATOR_FEE_VAULT].into_iter().filter(|_| self.has_vaults);
        core::iter::once(self.beneficiary).chain(vaults)
    }
}
