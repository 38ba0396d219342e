//! Blocks: the chain of headers, what each commits to, and the indexes that lead to them.

use super::{
    CheckError, Checker, Fault, Problem, alone, contradicted, look, same_hash, same_number, wrong,
    wrong_at,
};
use crate::store::{
    kv::{Access, KvTransaction},
    tables::{
        BlockBodies, HeaderNumbers, Headers, Key, OutputParts, OutputProofs, Receipts,
        StoredHeader, Table, TransactionHashNumbers, decode_entry,
    },
};
use alloy::{
    primitives::keccak256,
    trie::{Nibbles, TrieAccount, proof::verify_proof},
};
use contracts::L2_TO_L1_MESSAGE_PASSER;
use executor::{
    Header, Receipt, Transaction,
    block::{receipts_root, transactions_root},
};
use std::ops::ControlFlow;

impl<K: Access> Checker<'_, K> {
    pub(super) fn blocks(&mut self) -> Result<(), CheckError> {
        self.headers()?;
        let rows = self.rows;
        self.step::<HeaderNumbers>()?;
        self.visit::<HeaderNumbers>(|hash, number| match look::<Headers, K>(rows, &number)? {
            None => Err(alone::<Headers>(&number).into()),
            Some(stored) if stored.hash != hash => Err(contradicted::<Headers>(&number).into()),
            Some(_) => Ok(()),
        })?;
        self.rows_have_headers::<BlockBodies>()?;
        self.rows_have_headers::<Receipts>()?;
        self.rows_have_headers::<OutputParts>()?;
        self.step::<TransactionHashNumbers>()?;
        self.visit::<TransactionHashNumbers>(|hash, position| {
            match look::<BlockBodies, K>(rows, &position)? {
                None => Err(alone::<BlockBodies>(&position).into()),
                Some(transaction) if transaction.hash() != hash => {
                    Err(contradicted::<BlockBodies>(&position).into())
                }
                Some(_) => Ok(()),
            }
        })?;
        self.output_proofs()
    }

    /// Every header with its block, in order.
    fn headers(&mut self) -> Result<(), CheckError> {
        self.step::<Headers>()?;
        let (rows, kept, head) = (self.rows, self.kept, self.head.number);
        let mut last: Option<(u64, StoredHeader)> = None;
        self.visit::<Headers>(|number, stored| {
            if number > head {
                return Err(Problem::Stray("it is above the head").into());
            }
            let is_apart = number != 0 && number < kept.first_block;
            if is_apart && look::<OutputProofs, K>(rows, &number)?.is_none() {
                return Err(Problem::Stray("the block is not kept").into());
            }
            if let Some((before, parent)) = &last {
                let first = kept.first_block.max(1);
                if *before + 1 != number && number > first {
                    let missing = (before + 1).max(first);
                    return Err(wrong::<Headers>(&missing, Problem::Missing).into());
                }
                if *before + 1 == number {
                    same_hash("the parent hash", stored.header.parent_hash, parent.hash)?;
                }
            }
            block(rows, number, &stored)?;
            last = Some((number, stored));
            Ok(())
        })
    }

    /// Every row of a table by block belongs to a block.
    fn rows_have_headers<T: Table>(&mut self) -> Result<(), CheckError> {
        self.step::<T>()?;
        let rows = self.rows;
        let mut last = None;
        self.visit::<T>(|key, _| {
            let number = key.to_key().get(..8).and_then(u64::read).unwrap_or_default();
            if last != Some(number) && look::<Headers, K>(rows, &number)?.is_none() {
                return Err(alone::<Headers>(&number).into());
            }
            last = Some(number);
            Ok(())
        })
    }

    /// The message passer's account at blocks with an output.
    fn output_proofs(&mut self) -> Result<(), CheckError> {
        self.step::<OutputProofs>()?;
        let rows = self.rows;
        let path = Nibbles::unpack(keccak256(L2_TO_L1_MESSAGE_PASSER));
        self.visit::<OutputProofs>(|number, proof| {
            let header = look::<Headers, K>(rows, &number)?;
            let header = header.ok_or_else(|| alone::<Headers>(&number))?.header;
            let storage_root = look::<OutputParts, K>(rows, &number)?;
            let storage_root = storage_root.ok_or_else(|| alone::<OutputParts>(&number))?;
            let leaf = TrieAccount {
                nonce: proof.account.nonce,
                balance: proof.account.balance_wei,
                storage_root,
                code_hash: proof.account.code_hash,
            };
            verify_proof(header.state_root, path, Some(alloy::rlp::encode(leaf)), &proof.nodes)
                .map_err(|error| Problem::Proof(error.to_string()).into())
        })
    }
}

/// One block: its header's own hash and number, and everything that it commits to.
fn block<K: Access>(
    rows: &KvTransaction<K>,
    number: u64,
    stored: &StoredHeader,
) -> Result<(), Fault> {
    let header = &stored.header;
    same_hash("the block hash", stored.hash, header.hash_slow())?;
    same_number("the number in the header", header.number, number)?;
    match look::<HeaderNumbers, K>(rows, &stored.hash)? {
        Some(found) if found == number => {}
        Some(_) => return Err(contradicted::<HeaderNumbers>(&stored.hash).into()),
        None => return Err(alone::<HeaderNumbers>(&stored.hash).into()),
    }
    if look::<OutputParts, K>(rows, &number)?.is_none() {
        return Err(alone::<OutputParts>(&number).into());
    }
    let transactions = rows_of::<BlockBodies, K>(rows, number)?;
    same_hash("the transactions root", header.transactions_root, transactions_root(&transactions))?;
    positions(rows, number, &transactions)?;
    let mut receipts: Vec<Receipt> = Vec::new();
    let mut logs = 0_u64;
    for (index, row) in (0..).zip(rows_of::<Receipts, K>(rows, number)?) {
        same_number("the number of logs before the receipt", row.logs_before.into(), logs)
            .map_err(|problem| wrong::<Receipts>(&(number, index), problem))?;
        logs += row.receipt.logs.len() as u64;
        receipts.push(row.receipt);
    }
    Ok(receipts_agree(header, &receipts)?)
}

/// The receipts are those that the header commits to.
pub(super) fn receipts_agree(header: &Header, receipts: &[Receipt]) -> Result<(), Problem> {
    let (root, bloom) = receipts_root(receipts);
    same_hash("the receipts root", header.receipts_root, root)?;
    let (stored, computed) = (keccak256(header.logs_bloom), keccak256(bloom));
    same_hash("the hash of the logs bloom", stored, computed)?;
    let gas_used = receipts.last().map_or(0, |receipt| receipt.cumulative_gas_used);
    same_number("the gas used in the header", header.gas_used, gas_used)
}

/// Every transaction is found by its hash.
fn positions<K: Access>(
    rows: &KvTransaction<K>,
    number: u64,
    transactions: &[Transaction],
) -> Result<(), CheckError> {
    for (index, transaction) in (0..).zip(transactions) {
        let (position, hash) = ((number, index), transaction.hash());
        let problem = match look::<TransactionHashNumbers, K>(rows, &hash)? {
            Some(found) if found == position => continue,
            Some(_) => contradicted::<TransactionHashNumbers>(&hash),
            None => alone::<TransactionHashNumbers>(&hash),
        };
        return Err(wrong::<BlockBodies>(&position, problem));
    }
    Ok(())
}

/// The rows of one block, whose indexes count from 0.
fn rows_of<T: Table<Key = (u64, u32)>, K: Access>(
    rows: &KvTransaction<K>,
    number: u64,
) -> Result<Vec<T::Value>, CheckError> {
    let mut values = Vec::new();
    let mut expected = 0_u32;
    let mut at = number.to_key();
    let walked = rows.walk(T::SPEC, &number.to_key(), |key, value| {
        if !key.starts_with(&number.to_be_bytes()) {
            return Ok(ControlFlow::Break(()));
        }
        at = key.to_vec();
        let Ok(((_, index), value)) = decode_entry::<T>(key, value) else {
            return Err(Fault::from(Problem::Undecodable));
        };
        same_number("the index within the block", index.into(), expected.into())?;
        expected += 1;
        values.push(value);
        Ok(ControlFlow::Continue(()))
    });
    match walked {
        Ok(()) => Ok(values),
        Err(Fault::Here(problem)) => Err(wrong_at::<T>(&at, problem)),
        Err(Fault::Elsewhere(error)) => Err(error),
    }
}
