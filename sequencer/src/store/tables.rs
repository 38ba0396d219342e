//! The tables of the chain store: what they map from and to, and the bytes of both.
//!
//! Names and meanings are reth's. Numbers in keys are big endian, so key order is number order.
//! State is keyed by hash and kept once; history is keyed by plain address and slot. Does not open
//! anything (`kv` does) and does not know in which order tables are written (`chain` does).
//!
//! | table | key | value |
//! |---|---|---|
//! | Meta | name, 16 bytes | see [`MetaKey`] |
//! | HashedAccounts | keccak(address) | account |
//! | HashedStorages | keccak(address), keccak(slot) | value; zero is absent |
//! | Bytecodes | code hash | code; never removed, it is content |
//! | AccountChangeSets | block, address | account before the block |
//! | StorageChangeSets | block, address, slot | value before the block |
//! | AccountsHistory | address, block | nothing: the block changed the account |
//! | StoragesHistory | address, slot, block | nothing: the block changed the slot |
//! | Headers | block | hash, RLP header |
//! | HeaderNumbers | block hash | block |
//! | BlockBodies | block, index | sender, EIP-2718 transaction |
//! | Receipts | block, index | logs before it in the block, EIP-2718 receipt |
//! | TransactionHashNumbers | transaction hash | block, index |
//! | OutputParts | block | storage root of the message passer |
//! | OutputProofs | block with an output on L1 | the message passer's account and its proof |
//!
//! History before Meta's "first state" is pruned, but for the message passer's slots: StorageChangeSets
//! and StoragesHistory keep those for ever. Blocks between 0 and "first block" are absent, but for
//! those with an OutputProofs row; a chain that was not imported has them all.

use super::kv::{Access, KvError, KvTransaction, KvWriter, TableSpec};
use alloy::{
    primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256},
    rlp::{Decodable, Encodable},
};
use executor::{Account, Header, Receipt, Transaction};
use std::ops::ControlFlow;

/// Layout of the directory. A store of a higher format is refused. Format 1 had the same tables and no
/// order log; it is taken over as it is.
pub(super) const FORMAT: u64 = 2;

/// An account is at most nonce, flag, code hash and balance.
const ACCOUNT_BYTES_MAX: usize = 8 + 1 + 32 + 32;
/// 64 times what EIP-170 allows: room for whatever a genesis brings.
const CODE_BYTES_MAX: usize = 64 * 24_576;
/// A header is about 650 bytes; extra data is empty on a rollup.
const HEADER_BYTES_MAX: usize = 4096;
/// Eight times the longest transaction that is accepted, because deposits are bounded on L1 and not
/// by us.
const TRANSACTION_BYTES_MAX: usize = 8 * executor::transaction::TRANSACTION_BYTES_MAX;
/// A log byte costs 8 gas, so the 2^24 gas of one transaction buy 2 MiB of logs; a deposit may have
/// more gas, and 16 times as much is more than L1 sells in a block.
const RECEIPT_BYTES_MAX: usize = 32 << 20;
/// A proof has a node for each nibble of a hash at most, of 17 hashes each at most; real ones have
/// about ten nodes.
const OUTPUT_PROOF_BYTES_MAX: usize = 64 * 600;
/// The longest meta value: number, hash and timestamp.
const META_BYTES_MAX: usize = 48;

/// A table cannot be read or written.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum TableError {
    /// The engine failed.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// A row is not what this program writes.
    #[error("undecodable row in table {table}")]
    Undecodable {
        /// Table.
        table: &'static str,
    },
}

/// Part of a key: a fixed number of bytes whose order is the order of the values.
pub(super) trait Key: Sized {
    /// Size in bytes.
    const BYTES: usize;
    /// Appends the bytes.
    fn write(&self, out: &mut Vec<u8>);
    /// Reads exactly [`Self::BYTES`] bytes.
    fn read(bytes: &[u8]) -> Option<Self>;

    /// The bytes.
    fn to_key(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::BYTES);
        self.write(&mut out);
        out
    }
}

/// A value's bytes.
pub(super) trait Value: Sized {
    /// The bytes.
    fn to_value(&self) -> Vec<u8>;
    /// Reads all of `bytes`.
    fn from_value(bytes: &[u8]) -> Option<Self>;
}

/// A table with its types.
pub(super) trait Table {
    /// Place, name and sizes.
    const SPEC: TableSpec;
    /// Keys.
    type Key: Key;
    /// Values.
    type Value: Value;
}

/// A key and its value.
pub(super) type EntryOf<T> = (<T as Table>::Key, <T as Table>::Value);

macro_rules! tables {
    ($($name:ident: $key:ty => $value:ty, $value_bytes_max:expr;)*) => {
        #[derive(Clone, Copy)]
        enum Index { $($name),* }

        /// All tables, by their index.
        pub(super) const TABLES: &[TableSpec] = &[$($name::SPEC),*];

        $(
            #[doc = concat!("Table ", stringify!($name), "; see the head of the file.")]
            #[derive(Debug)]
            pub(super) struct $name;

            impl Table for $name {
                const SPEC: TableSpec = TableSpec {
                    index: Index::$name as usize,
                    name: stringify!($name),
                    key_bytes: <$key>::BYTES,
                    value_bytes_max: $value_bytes_max,
                };
                type Key = $key;
                type Value = $value;
            }
        )*
    };
}

tables! {
    Meta: MetaKey => Bytes, META_BYTES_MAX;
    HashedAccounts: B256 => Account, ACCOUNT_BYTES_MAX;
    HashedStorages: (B256, B256) => U256, 32;
    Bytecodes: B256 => Bytes, CODE_BYTES_MAX;
    AccountChangeSets: (u64, Address) => Option<Account>, ACCOUNT_BYTES_MAX;
    StorageChangeSets: ((u64, Address), U256) => U256, 32;
    AccountsHistory: (Address, u64) => (), 0;
    StoragesHistory: ((Address, U256), u64) => (), 0;
    Headers: u64 => StoredHeader, HEADER_BYTES_MAX;
    HeaderNumbers: B256 => u64, 8;
    BlockBodies: (u64, u32) => Transaction, TRANSACTION_BYTES_MAX;
    Receipts: (u64, u32) => StoredReceipt, RECEIPT_BYTES_MAX;
    TransactionHashNumbers: B256 => (u64, u32), 12;
    OutputParts: u64 => B256, 32;
    OutputProofs: u64 => OutputProof, OUTPUT_PROOF_BYTES_MAX;
}

/// The rows of [`Meta`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetaKey {
    /// [`FORMAT`], as a number.
    Format,
    /// Hash of block 0.
    GenesisHash,
    /// Hash of the chain's configuration (`Genesis::config_hash`).
    ConfigHash,
    /// Number, hash and timestamp of the last block.
    Head,
    /// The first block whose state can still be read; absent means 0.
    FirstState,
    /// The first block, but for block 0, from which on all are stored; absent means 1.
    FirstBlock,
    /// Index after the newest output that is final on L1, and its block; absent before the first.
    FinalOutputs,
    /// Position of the last record of the order log that the tables have; none before the first.
    LogPosition,
}

impl MetaKey {
    const ALL: [Self; 8] = [
        Self::Format,
        Self::GenesisHash,
        Self::ConfigHash,
        Self::Head,
        Self::FirstState,
        Self::FirstBlock,
        Self::FinalOutputs,
        Self::LogPosition,
    ];

    const fn name(self) -> &'static [u8; 16] {
        match self {
            Self::Format => b"format          ",
            Self::GenesisHash => b"genesis hash    ",
            Self::ConfigHash => b"config hash     ",
            Self::Head => b"head            ",
            Self::FirstState => b"first state     ",
            Self::FirstBlock => b"first block     ",
            Self::FinalOutputs => b"final outputs   ",
            Self::LogPosition => b"log position    ",
        }
    }
}

/// A header with its hash, so that neither is computed on reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredHeader {
    pub(super) hash: B256,
    pub(super) header: Header,
}

/// A receipt with the number of logs that come before it in its block, so that log indexes need no
/// other row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredReceipt {
    pub(super) logs_before: u32,
    pub(super) receipt: Receipt,
}

/// What proves the message passer's account at a block: the rest of a withdrawal's proof follows
/// from its slots, which are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OutputProof {
    pub(super) account: Account,
    /// RLP nodes from the state root down.
    pub(super) nodes: Vec<Bytes>,
}

impl Key for MetaKey {
    const BYTES: usize = 16;
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.name());
    }
    fn read(bytes: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.name() == bytes)
    }
}

impl Key for u64 {
    const BYTES: usize = 8;
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }
    fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_be_bytes)
    }
}

impl Key for u32 {
    const BYTES: usize = 4;
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }
    fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_be_bytes)
    }
}

impl Key for U256 {
    const BYTES: usize = 32;
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes::<32>());
    }
    fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_be_bytes::<32>)
    }
}

impl Key for B256 {
    const BYTES: usize = 32;
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_slice());
    }
    fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok()
    }
}

impl Key for Address {
    const BYTES: usize = 20;
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_slice());
    }
    fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok()
    }
}

impl<A: Key, B: Key> Key for (A, B) {
    const BYTES: usize = A::BYTES + B::BYTES;
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        self.1.write(out);
    }
    fn read(bytes: &[u8]) -> Option<Self> {
        let (first, second) = bytes.split_at_checked(A::BYTES)?;
        Some((A::read(first)?, B::read(second)?))
    }
}

impl Value for () {
    fn to_value(&self) -> Vec<u8> {
        Vec::new()
    }
    fn from_value(bytes: &[u8]) -> Option<Self> {
        bytes.is_empty().then_some(())
    }
}

impl Value for u64 {
    fn to_value(&self) -> Vec<u8> {
        self.to_key()
    }
    fn from_value(bytes: &[u8]) -> Option<Self> {
        Self::read(bytes)
    }
}

impl Value for B256 {
    fn to_value(&self) -> Vec<u8> {
        self.to_vec()
    }
    fn from_value(bytes: &[u8]) -> Option<Self> {
        Self::read(bytes)
    }
}

impl Value for (u64, u32) {
    fn to_value(&self) -> Vec<u8> {
        self.to_key()
    }
    fn from_value(bytes: &[u8]) -> Option<Self> {
        Self::read(bytes)
    }
}

impl Value for Bytes {
    fn to_value(&self) -> Vec<u8> {
        self.to_vec()
    }
    fn from_value(bytes: &[u8]) -> Option<Self> {
        Some(Self::copy_from_slice(bytes))
    }
}

/// Big endian without leading zeros; zero is no bytes.
impl Value for U256 {
    fn to_value(&self) -> Vec<u8> {
        self.to_be_bytes_trimmed_vec()
    }
    fn from_value(bytes: &[u8]) -> Option<Self> {
        let is_canonical = bytes.len() <= 32 && bytes.first() != Some(&0);
        is_canonical.then(|| Self::from_be_slice(bytes))
    }
}

/// Nonce, whether there is code, the code hash if so, the balance as a [`U256`].
impl Value for Account {
    fn to_value(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(ACCOUNT_BYTES_MAX);
        self.nonce.write(&mut out);
        let has_code = self.code_hash != KECCAK256_EMPTY;
        out.push(u8::from(has_code));
        if has_code {
            self.code_hash.write(&mut out);
        }
        out.extend_from_slice(&self.balance_wei.to_value());
        out
    }
    fn from_value(bytes: &[u8]) -> Option<Self> {
        let (nonce, rest) = bytes.split_at_checked(8)?;
        let (code_hash, balance) = match rest.split_first()? {
            (0, balance) => (KECCAK256_EMPTY, balance),
            (1, rest) => {
                let (hash, balance) = rest.split_at_checked(32)?;
                (B256::from_slice(hash), balance)
            }
            _ => return None,
        };
        let balance_wei = U256::from_value(balance)?;
        Some(Self { nonce: u64::read(nonce)?, balance_wei, code_hash })
    }
}

/// No bytes where there was no account.
impl Value for Option<Account> {
    fn to_value(&self) -> Vec<u8> {
        self.map_or_else(Vec::new, |account| account.to_value())
    }
    fn from_value(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() { Some(None) } else { Account::from_value(bytes).map(Some) }
    }
}

impl Value for StoredHeader {
    fn to_value(&self) -> Vec<u8> {
        let mut out = self.hash.to_vec();
        self.header.encode(&mut out);
        out
    }
    fn from_value(bytes: &[u8]) -> Option<Self> {
        let (hash, mut rlp) = bytes.split_at_checked(32)?;
        let header = Header::decode(&mut rlp).ok()?;
        rlp.is_empty().then(|| Self { hash: B256::from_slice(hash), header })
    }
}

/// The sender was recovered before the transaction was stored, and is not recovered again.
impl Value for Transaction {
    fn to_value(&self) -> Vec<u8> {
        let mut out = self.sender().to_vec();
        out.extend_from_slice(self.raw());
        out
    }
    fn from_value(bytes: &[u8]) -> Option<Self> {
        let (sender, raw) = bytes.split_at_checked(20)?;
        Self::decode_stored(Bytes::copy_from_slice(raw), Address::from_slice(sender)).ok()
    }
}

impl Value for StoredReceipt {
    fn to_value(&self) -> Vec<u8> {
        let mut out = self.logs_before.to_key();
        out.extend_from_slice(&self.receipt.encoded_2718());
        out
    }
    fn from_value(bytes: &[u8]) -> Option<Self> {
        let (logs_before, receipt) = bytes.split_at_checked(4)?;
        let receipt = Receipt::decode_2718(receipt)?;
        Some(Self { logs_before: u32::read(logs_before)?, receipt })
    }
}

/// An RLP list of byte strings: the account, then the nodes.
impl Value for OutputProof {
    fn to_value(&self) -> Vec<u8> {
        let mut items = vec![Bytes::from(self.account.to_value())];
        items.extend_from_slice(&self.nodes);
        let mut out = Vec::new();
        items.encode(&mut out);
        out
    }
    fn from_value(mut bytes: &[u8]) -> Option<Self> {
        let mut items = Vec::<Bytes>::decode(&mut bytes).ok()?.into_iter();
        let account = Account::from_value(&items.next()?)?;
        bytes.is_empty().then(|| Self { account, nodes: items.collect() })
    }
}

/// A value within its table's bound; what is longer was not written by this program, whatever it says.
fn decode_value<T: Table>(bytes: &[u8]) -> Result<T::Value, TableError> {
    let value = (bytes.len() <= T::SPEC.value_bytes_max).then(|| T::Value::from_value(bytes));
    value.flatten().ok_or(TableError::Undecodable { table: T::SPEC.name })
}

/// Key and value, each of exactly the size that it should have.
pub(super) fn decode_entry<T: Table>(key: &[u8], value: &[u8]) -> Result<EntryOf<T>, TableError> {
    let key = T::Key::read(key).ok_or(TableError::Undecodable { table: T::SPEC.name })?;
    Ok((key, decode_value::<T>(value)?))
}

impl<K: Access> KvTransaction<K> {
    /// The value of `key`.
    pub(super) fn read<T: Table>(&self, key: &T::Key) -> Result<Option<T::Value>, TableError> {
        let bytes = self.get(T::SPEC, &key.to_key())?;
        bytes.map(|bytes| decode_value::<T>(&bytes)).transpose()
    }

    /// The first entry at or after `key`.
    pub(super) fn read_from<T: Table>(
        &self,
        key: &T::Key,
    ) -> Result<Option<EntryOf<T>>, TableError> {
        let entry = self.first_from(T::SPEC, &key.to_key())?;
        entry.map(|(key, value)| decode_entry::<T>(&key, &value)).transpose()
    }

    /// Visits the entries at and after the key that starts with `start`, in order, until `visit`
    /// breaks.
    pub(super) fn visit_from<T: Table, E: From<TableError>>(
        &self,
        start: &impl Key,
        mut visit: impl FnMut(T::Key, T::Value) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        /// Lets one closure return both the engine's errors and the caller's.
        struct Either<E>(E);
        impl<E: From<TableError>> From<KvError> for Either<E> {
            fn from(error: KvError) -> Self {
                Self(E::from(TableError::from(error)))
            }
        }
        let outcome = self.walk(T::SPEC, &start.to_key(), |key, value| {
            let (key, value) = decode_entry::<T>(key, value).map_err(|e| Either(E::from(e)))?;
            visit(key, value).map_err(Either)
        });
        outcome.map_err(|Either(error)| error)
    }
}

impl KvWriter {
    /// Writes `key`, replacing its value.
    pub(super) fn write<T: Table>(&self, key: &T::Key, value: &T::Value) -> Result<(), TableError> {
        Ok(self.put(T::SPEC, &key.to_key(), &value.to_value())?)
    }

    /// Removes `key`; whether it was there.
    pub(super) fn remove<T: Table>(&self, key: &T::Key) -> Result<bool, TableError> {
        Ok(self.delete(T::SPEC, &key.to_key())?)
    }
}

#[cfg(test)]
mod tests;
