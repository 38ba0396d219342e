//! Deposits: transactions that L1 puts into an L2 block, in the OP Stack's shape (type 0x7e), so
//! that its clients compute the same hashes and show the same fields.
//!
//! Owns the encoding, the source-hash rule, the parsing of the portal's event payload and the L1
//! attributes deposit that opens every block. Does not watch L1 and does not execute.
//! Source: OP Stack specification, "Deposits" and "L1 attributes deposited transaction".

use alloc::vec::Vec;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, address, b256, keccak256};
use alloy_rlp::{BufMut, Decodable, Encodable, Header};

/// EIP-2718 type of a deposit.
pub const DEPOSIT_TX_TYPE: u8 = 0x7e;
/// Sender of the L1 attributes deposit: nobody holds its key.
pub const DEPOSITOR_ACCOUNT: Address = address!("0xDeaDDEaDDeAdDeAdDEAdDEaddeAddEAdDEAd0001");
/// Predeploy that receives the L1 attributes.
pub const L1_BLOCK_ADDRESS: Address = address!("0x4200000000000000000000000000000000000015");
/// Gas limit of the L1 attributes deposit, in gas: the OP Stack's value after Regolith.
pub const L1_ATTRIBUTES_GAS_LIMIT: u64 = 1_000_000;
/// `keccak256("TransactionDeposited(address,address,uint256,bytes)")`.
pub const TRANSACTION_DEPOSITED_TOPIC: B256 =
    b256!("0xb3813568d9991fc951961fcb4c784893574240a28925604d09fc577c55bb7c32");
/// Selector of `setL1BlockValues(uint64,uint64,uint256,bytes32,uint64,uint256)` on the L1Block
/// predeploy; a test of the `sequencer` crate compares it with the contract's ABI.
pub const SET_L1_BLOCK_VALUES: &str =
    "setL1BlockValues(uint64,uint64,uint256,bytes32,uint64,uint256)";

/// A deposit's fields. `isSystemTx` is always false since Regolith, so it is not carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deposit {
    /// Identifies the deposit's origin on L1; makes its hash unique.
    pub source_hash: B256,
    /// Sender; aliased by the portal when an L1 contract sent it.
    pub from: Address,
    /// Called address, or creation.
    pub to: TxKind,
    /// Wei created on L2 for `from`, locked on L1 by the portal.
    pub mint_wei: u128,
    /// Wei sent along with the call.
    pub value: U256,
    /// Gas limit; paid on L1.
    pub gas_limit: u64,
    /// Call data or init code.
    pub input: Bytes,
}

impl Deposit {
    fn payload_length(&self) -> usize {
        self.source_hash.length()
            + self.from.length()
            + self.to.length()
            + self.mint_wei.length()
            + self.value.length()
            + self.gas_limit.length()
            + false.length()
            + self.input.length()
    }

    /// `0x7e ‖ rlp[sourceHash, from, to, mint, value, gas, false, data]`.
    #[must_use]
    pub fn encoded_2718(&self) -> Vec<u8> {
        let payload_length = self.payload_length();
        let mut out = Vec::with_capacity(payload_length + 6);
        out.put_u8(DEPOSIT_TX_TYPE);
        Header { list: true, payload_length }.encode(&mut out);
        self.source_hash.encode(&mut out);
        self.from.encode(&mut out);
        self.to.encode(&mut out);
        self.mint_wei.encode(&mut out);
        self.value.encode(&mut out);
        self.gas_limit.encode(&mut out);
        false.encode(&mut out);
        self.input.encode(&mut out);
        out
    }

    /// Reads [`Self::encoded_2718`] back; `None` when the bytes are anything else.
    pub fn decode_2718(buf: &mut &[u8]) -> Option<Self> {
        let (ty, rest) = buf.split_first()?;
        *buf = rest;
        let header = Header::decode(buf).ok()?;
        if *ty != DEPOSIT_TX_TYPE || !header.list || header.payload_length > buf.len() {
            return None;
        }
        let (mut fields, rest) = buf.split_at(header.payload_length);
        *buf = rest;
        let deposit = Self {
            source_hash: Decodable::decode(&mut fields).ok()?,
            from: Decodable::decode(&mut fields).ok()?,
            to: Decodable::decode(&mut fields).ok()?,
            mint_wei: Decodable::decode(&mut fields).ok()?,
            value: Decodable::decode(&mut fields).ok()?,
            gas_limit: Decodable::decode(&mut fields).ok()?,
            input: {
                let system: bool = Decodable::decode(&mut fields).ok()?;
                if system {
                    return None;
                }
                Decodable::decode(&mut fields).ok()?
            },
        };
        fields.is_empty().then_some(deposit)
    }

    /// Reads the portal's `TransactionDeposited` event: `None` when topics or payload are not those
    /// of a version 0 deposit. The portal of this chain never emits such an event, so the caller
    /// skips it: a foreign event is not a deposit.
    ///
    /// `l1_log_index` is the log's index in its L1 block, `l1_block_hash` that block.
    #[must_use]
    pub fn from_event(
        topics: &[B256],
        data: &[u8],
        l1_block_hash: B256,
        l1_log_index: u64,
    ) -> Option<Self> {
        let [topic, from, to, version] = topics else {
            return None;
        };
        if *topic != TRANSACTION_DEPOSITED_TOPIC || *version != B256::ZERO {
            return None;
        }
        let opaque = decode_abi_bytes(data)?;
        if opaque.len() < 73 {
            return None;
        }
        let is_creation = match opaque[72] {
            0 => false,
            1 => true,
            _ => return None,
        };
        let to = if is_creation { TxKind::Create } else { Address::from_word(*to).into() };
        Some(Self {
            source_hash: user_source_hash(l1_block_hash, l1_log_index),
            from: Address::from_word(*from),
            to,
            mint_wei: U256::from_be_slice(&opaque[..32]).try_into().ok()?,
            value: U256::from_be_slice(&opaque[32..64]),
            gas_limit: u64::from_be_bytes(opaque[64..72].try_into().ok()?),
            input: Bytes::copy_from_slice(&opaque[73..]),
        })
    }
}

/// The single `bytes` value of an ABI-encoded event body.
fn decode_abi_bytes(data: &[u8]) -> Option<&[u8]> {
    let offset = usize::try_from(U256::from_be_slice(data.get(..32)?)).ok()?;
    let length_end = offset.checked_add(32)?;
    let length = usize::try_from(U256::from_be_slice(data.get(offset..length_end)?)).ok()?;
    data.get(length_end..length_end.checked_add(length)?)
}

/// `keccak256(uint256(domain) ‖ keccak256(l1BlockHash ‖ uint256(index)))`.
fn source_hash(domain: u64, l1_block_hash: B256, index: u64) -> B256 {
    let mut id = [0u8; 64];
    id[..32].copy_from_slice(l1_block_hash.as_slice());
    id[56..].copy_from_slice(&index.to_be_bytes());
    let mut tagged = [0u8; 64];
    tagged[24..32].copy_from_slice(&domain.to_be_bytes());
    tagged[32..].copy_from_slice(keccak256(id).as_slice());
    keccak256(tagged)
}

/// Source hash of a user deposit: domain 0, the log's index in its L1 block.
#[must_use]
pub fn user_source_hash(l1_block_hash: B256, l1_log_index: u64) -> B256 {
    source_hash(0, l1_block_hash, l1_log_index)
}

/// The L1 block an L2 block builds on: everything of it that L2 blocks can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct L1Origin {
    /// L1 block number.
    pub number: u64,
    /// L1 block hash.
    pub hash: B256,
    /// Its parent, so that a follower can check the chain it was handed.
    pub parent_hash: B256,
    /// Seconds since 1970.
    pub timestamp: u64,
    /// L1 base fee in wei.
    pub base_fee_wei: u64,
    /// L1 blob base fee in wei.
    pub blob_base_fee_wei: u128,
    /// L1 `prevRandao`, which L2 blocks of this origin repeat.
    pub prevrandao: B256,
}

/// What the first transaction of every rollup block tells L2 about L1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct L1Attributes {
    /// L1 block number.
    pub number: u64,
    /// L1 timestamp, seconds.
    pub timestamp: u64,
    /// L1 base fee in wei.
    pub base_fee_wei: u64,
    /// L1 block hash.
    pub hash: B256,
    /// Position of the L2 block among those of the same L1 origin, from 0.
    pub sequence_number: u64,
    /// L1 blob base fee in wei.
    pub blob_base_fee_wei: u128,
}

impl L1Attributes {
    /// The attributes of the block number `sequence_number` within the epoch of `origin`.
    #[must_use]
    pub fn new(origin: &L1Origin, sequence_number: u64) -> Self {
        Self {
            number: origin.number,
            timestamp: origin.timestamp,
            base_fee_wei: origin.base_fee_wei,
            hash: origin.hash,
            sequence_number,
            blob_base_fee_wei: origin.blob_base_fee_wei,
        }
    }

    /// The deposit that writes them to the L1Block predeploy: source-hash domain 1.
    #[must_use]
    pub fn to_deposit(&self) -> Deposit {
        let mut input = Vec::with_capacity(4 + 6 * 32);
        input.extend_from_slice(&keccak256(SET_L1_BLOCK_VALUES.as_bytes())[..4]);
        let words = [
            U256::from(self.number),
            U256::from(self.timestamp),
            U256::from(self.base_fee_wei),
            self.hash.into(),
            U256::from(self.sequence_number),
            U256::from(self.blob_base_fee_wei),
        ];
        for word in words {
            input.extend_from_slice(&word.to_be_bytes::<32>());
        }
        Deposit {
            source_hash: source_hash(1, self.hash, self.sequence_number),
            from: DEPOSITOR_ACCOUNT,
            to: L1_BLOCK_ADDRESS.into(),
            mint_wei: 0,
            value: U256::ZERO,
            gas_limit: L1_ATTRIBUTES_GAS_LIMIT,
            input: input.into(),
        }
    }

    /// Reads the attributes back from a block's first deposit; `None` when it is not one.
    #[must_use]
    pub fn from_deposit(deposit: &Deposit) -> Option<Self> {
        let input = &deposit.input;
        // Asked of every deposit: the hash comes last.
        if deposit.from != DEPOSITOR_ACCOUNT
            || deposit.to != TxKind::Call(L1_BLOCK_ADDRESS)
            || input.len() != 196
            || input[..4] != keccak256(SET_L1_BLOCK_VALUES.as_bytes())[..4]
        {
            return None;
        }
        let word = |i: usize| U256::from_be_slice(&input[4 + 32 * i..36 + 32 * i]);
        Some(Self {
            number: word(0).try_into().ok()?,
            timestamp: word(1).try_into().ok()?,
            base_fee_wei: word(2).try_into().ok()?,
            hash: word(3).into(),
            sequence_number: word(4).try_into().ok()?,
            blob_base_fee_wei: word(5).try_into().ok()?,
        })
    }
}
