//! The columns of a channel's content: like stands beside like, so that the compressor sees it.
//!
//! Owns which columns there are, their order, and the bounds on reading them. Knows nothing of what a
//! column means: that is told where it is written and read.

use super::{CONTENT_BYTES_MAX, CONTENT_HEAD_BYTES_MAX, Malformed, varint};

/// A column. The order is that of the content, and part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Column {
    /// Blocks: seconds since the block before.
    Timestamp,
    /// How the L1 origin follows from that of the block before.
    OriginStep,
    /// By how much, where it is neither the same nor the next.
    OriginDelta,
    /// First bytes of origins' hashes.
    OriginCheck,
    /// Transactions of each block.
    Count,
    /// Type and shape of each transaction.
    Kind,
    /// Recipients: low and high byte of their place in the table, and those that are new.
    ToLow,
    ToHigh,
    /// Addresses that were not in the table, as recipients and in calldata.
    AddressNew,
    GasPriceForm,
    GasPrice,
    MaxFeeForm,
    MaxFee,
    MaxPriorityFeeForm,
    MaxPriorityFee,
    GasLimitForm,
    GasLimit,
    ValueForm,
    Value,
    NonceForm,
    Nonce,
    DataLength,
    /// Bytes of calldata that is not made of words.
    DataRaw,
    /// Whether calldata is made of words.
    DataIsWords,
    SelectorLow,
    SelectorHigh,
    SelectorNew,
    /// Class of each word.
    WordForm,
    WordAddressLow,
    WordAddressHigh,
    WordKnownLow,
    WordKnownHigh,
    /// Numbers of one, two and three bytes.
    Word1,
    Word2,
    Word3,
    /// Longer numbers.
    WordNumber,
    /// Decimal exponents and mantissas.
    WordExponent,
    WordMantissa,
    /// Words that end in zeros, without them.
    WordLeft,
    /// Words without any pattern.
    WordFull,
    /// What is left after the last whole word.
    WordTail,
    /// Whether a word is the length of calldata within calldata.
    IsNested,
    AccessListLength,
    AccessList,
    AuthorizationsLength,
    Authorizations,
    /// Transactions that no other column can say: their bytes.
    RawLength,
    Raw,
}

/// Number of columns.
const COLUMNS: usize = Column::Raw as usize + 1;
// No column is longer than 2^28 bytes: four bytes say its length.
const _: () = assert!(4 * COLUMNS <= CONTENT_HEAD_BYTES_MAX && CONTENT_BYTES_MAX < 1 << 28);

/// Columns being written.
#[derive(Clone, Debug)]
pub(super) struct Columns([Vec<u8>; COLUMNS]);

impl Columns {
    pub(super) fn new() -> Self {
        Self([const { Vec::new() }; COLUMNS])
    }

    pub(super) fn byte(&mut self, column: Column, value: u8) {
        self.0[column as usize].push(value);
    }

    pub(super) fn bytes(&mut self, column: Column, value: &[u8]) {
        self.0[column as usize].extend_from_slice(value);
    }

    pub(super) fn varint(&mut self, column: Column, value: u64) {
        varint::put(&mut self.0[column as usize], value);
    }

    /// The content: the length of each column, then each.
    pub(super) fn into_content(self) -> Vec<u8> {
        let mut content = Vec::new();
        for column in &self.0 {
            varint::put(&mut content, column.len() as u64);
        }
        for column in &self.0 {
            content.extend_from_slice(column);
        }
        content
    }
}

/// Columns being read.
#[derive(Clone, Debug)]
pub(super) struct Cursors<'c>([&'c [u8]; COLUMNS]);

impl<'c> Cursors<'c> {
    /// The columns of a content.
    ///
    /// # Errors
    /// [`Malformed`] when it is too long, or the lengths are not those of the columns.
    pub(super) fn new(content: &'c [u8]) -> Result<Self, Malformed> {
        if content.len() > CONTENT_BYTES_MAX {
            return Err(Malformed::ContentTooLong);
        }
        let (mut rest, mut lengths) = (content, [0; COLUMNS]);
        for length in &mut lengths {
            *length = usize::try_from(varint::get(&mut rest)?).map_err(|_| Malformed::Truncated)?;
        }
        let mut columns = [content; COLUMNS];
        for (column, length) in columns.iter_mut().zip(lengths) {
            (*column, rest) = rest.split_at_checked(length).ok_or(Malformed::Truncated)?;
        }
        if rest.is_empty() { Ok(Self(columns)) } else { Err(Malformed::Trailing) }
    }

    pub(super) fn byte(&mut self, column: Column) -> Result<u8, Malformed> {
        let [byte] = self.array(column)?;
        Ok(byte)
    }

    pub(super) fn array<const N: usize>(&mut self, column: Column) -> Result<[u8; N], Malformed> {
        let cursor = &mut self.0[column as usize];
        let (head, rest) = cursor.split_first_chunk::<N>().ok_or(Malformed::Truncated)?;
        *cursor = rest;
        Ok(*head)
    }

    pub(super) fn bytes(&mut self, column: Column, length: usize) -> Result<&'c [u8], Malformed> {
        let cursor = &mut self.0[column as usize];
        let (head, rest) = cursor.split_at_checked(length).ok_or(Malformed::Truncated)?;
        *cursor = rest;
        Ok(head)
    }

    pub(super) fn varint(&mut self, column: Column) -> Result<u64, Malformed> {
        varint::get(&mut self.0[column as usize])
    }

    /// Checks that nothing is left over.
    pub(super) fn finish(self) -> Result<(), Malformed> {
        let is_empty = self.0.iter().all(|column| column.is_empty());
        if is_empty { Ok(()) } else { Err(Malformed::Trailing) }
    }
}
