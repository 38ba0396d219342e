//! The layout of OP's span batch, version 1: what our channel is compared with.
//!
//! In this order, each for all transactions: header, origin bits, transactions of each block,
//! creation bits, y parities, signatures, recipients, bodies, nonces, gas limits, and for legacy
//! transactions whether they name the chain. Chain id and block times come from the rollup's
//! configuration. Uncompressed; see <https://specs.optimism.io/protocol/delta/span-batches.html>.

use crate::{codec::Transactions, data::Block};
use alloy::{
    consensus::{
        SignableTransaction, Transaction, TxEip1559, TxEip2930, TxEip7702, TxEnvelope, TxLegacy,
    },
    eips::{Decodable2718, Encodable2718, eip2930::AccessList, eip7702::SignedAuthorization},
    primitives::{Address, Bytes, Signature, TxKind, U256, keccak256},
    rlp::{Decodable, Encodable, Header, encode_list},
};
use anyhow::{Context, Result, bail, ensure};
use batcher::format::varint;

const VERSION: u8 = 1;
/// Bytes that the header repeats of the parent's hash, and of the last L1 origin's.
const CHECK_BYTES: usize = 20;
/// First byte of an RLP list, at least: a body that opens with it is a legacy transaction's.
const LIST: u8 = 0xc0;

/// What is in the column of bodies, which is a list without what has a column of its own.
#[derive(Debug, Default)]
struct Body {
    kind: u8,
    value: U256,
    /// Gas price, or the most for a transaction that also names a priority fee.
    fee: u128,
    priority_fee: u128,
    input: Bytes,
    access_list: AccessList,
    authorizations: Vec<SignedAuthorization>,
}

/// The span batch of the blocks.
pub(crate) fn encode(blocks: &[Block]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    header(blocks, &mut out)?;
    let mut transactions = Vec::new();
    for raw in blocks.iter().flat_map(|block| &block.transactions) {
        transactions.push(TxEnvelope::decode_2718_exact(raw)?);
    }
    put_bits(transactions.iter().map(|tx| tx.kind().is_create()), &mut out);
    put_bits(transactions.iter().map(|tx| tx.signature().v()), &mut out);
    for signature in transactions.iter().map(TxEnvelope::signature) {
        out.extend_from_slice(&signature.as_bytes()[..64]);
    }
    for to in transactions.iter().filter_map(Transaction::to) {
        out.extend_from_slice(to.as_slice());
    }
    for transaction in &transactions {
        put_body(transaction, &mut out)?;
    }
    transactions.iter().for_each(|tx| varint::put(&mut out, tx.nonce()));
    transactions.iter().for_each(|tx| varint::put(&mut out, tx.gas_limit()));
    let legacy = transactions.iter().filter(|tx| tx.is_legacy());
    put_bits(legacy.map(|tx| tx.chain_id().is_some()), &mut out);
    Ok(out)
}

/// All that is not about transactions. A real one has the parent's hash; any bytes cost the same.
fn header(blocks: &[Block], out: &mut Vec<u8>) -> Result<()> {
    let (first, last) = blocks.first().zip(blocks.last()).context("no blocks")?;
    out.push(VERSION);
    varint::put(out, first.timestamp);
    varint::put(out, last.origin_number());
    out.extend_from_slice(&keccak256(first.number.to_be_bytes())[..CHECK_BYTES]);
    out.extend_from_slice(&last.origin_hash()[..CHECK_BYTES]);
    varint::put(out, blocks.len() as u64);
    let advances = blocks.windows(2).map(|pair| pair[0].origin_number() != pair[1].origin_number());
    put_bits(std::iter::once(false).chain(advances), out);
    blocks.iter().for_each(|block| varint::put(out, block.transactions.len() as u64));
    Ok(())
}

fn put_body(transaction: &TxEnvelope, out: &mut Vec<u8>) -> Result<()> {
    let (value, input) = (transaction.value(), transaction.input());
    let fee = transaction.max_fee_per_gas();
    let priority_fee = transaction.max_priority_fee_per_gas().unwrap_or_default();
    let access_list = transaction.access_list().cloned().unwrap_or_default();
    if !transaction.is_legacy() {
        out.push(transaction.tx_type().into());
    }
    let mut list = |fields: &[&dyn Encodable]| encode_list::<_, dyn Encodable>(fields, out);
    match transaction {
        TxEnvelope::Legacy(_) => list(&[&value, &fee, input]),
        TxEnvelope::Eip2930(_) => list(&[&value, &fee, input, &access_list]),
        TxEnvelope::Eip1559(_) => list(&[&value, &priority_fee, &fee, input, &access_list]),
        TxEnvelope::Eip7702(_) => {
            let authorizations = transaction.authorization_list().unwrap_or_default().to_vec();
            list(&[&value, &priority_fee, &fee, input, &access_list, &authorizations]);
        }
        TxEnvelope::Eip4844(_) => bail!("a transaction with blobs"),
    }
    Ok(())
}

/// The bits as one big-endian number, the first bit its lowest.
fn put_bits(bits: impl Iterator<Item = bool>, out: &mut Vec<u8>) {
    let start = out.len();
    for (index, bit) in bits.enumerate() {
        if index % 8 == 0 {
            out.push(0);
        }
        if let Some(byte) = out.last_mut() {
            *byte |= u8::from(bit) << (index % 8);
        }
    }
    out[start..].reverse();
}

/// Reads [`encode`] back.
pub(crate) fn decode(mut bytes: &[u8], chain_id: u64) -> Result<Transactions> {
    let rest = &mut bytes;
    ensure!(take(rest, 1)? == [VERSION], "unknown version");
    let _first_timestamp = varint::get(rest)?;
    let _last_origin = varint::get(rest)?;
    let _checks = take(rest, 2 * CHECK_BYTES)?;
    let blocks = usize::try_from(varint::get(rest)?)?;
    let _origin_bits = get_bits(rest, blocks)?;
    let counts = get_varints(rest, blocks)?;
    let count = usize::try_from(counts.iter().sum::<u64>())?;

    let creations = get_bits(rest, count)?;
    let parities = get_bits(rest, count)?;
    let signatures = take(rest, 64 * count)?.chunks_exact(64).zip(parities);
    let signatures: Vec<Signature> =
        signatures.map(|(bytes, odd)| Signature::from_bytes_and_parity(bytes, odd)).collect();
    let mut recipients = Vec::new();
    for creates in creations {
        let to = (!creates).then(|| take(rest, Address::len_bytes())).transpose()?;
        recipients.push(to.map_or(TxKind::Create, |to| Address::from_slice(to).into()));
    }
    let bodies = (0..count).map(|_| get_body(rest)).collect::<Result<Vec<_>>>()?;
    let nonces = get_varints(rest, count)?;
    let gas_limits = get_varints(rest, count)?;
    let legacy = bodies.iter().filter(|body| body.kind == 0).count();
    let mut names_chain = get_bits(rest, legacy)?.into_iter();
    ensure!(rest.is_empty(), "bytes are left over");

    let mut transactions = bodies.into_iter().enumerate().map(|(index, body)| {
        let named = body.kind != 0 || names_chain.next() == Some(true);
        let (nonce, gas_limit, to) = (nonces[index], gas_limits[index], recipients[index]);
        let own = Own { chain_id: named.then_some(chain_id), nonce, gas_limit, to };
        assemble(body, own, signatures[index])
    });
    let block = |count: &u64| (0..*count).map_while(|_| transactions.next()).collect();
    counts.iter().map(block).collect()
}

/// Fields of a transaction that have columns of their own.
#[derive(Clone, Copy, Debug)]
struct Own {
    chain_id: Option<u64>,
    nonce: u64,
    gas_limit: u64,
    to: TxKind,
}

fn assemble(body: Body, own: Own, signature: Signature) -> Result<Bytes> {
    let Own { nonce, gas_limit, to, .. } = own;
    let Body { value, fee, priority_fee, input, access_list, .. } = body;
    let chain_id = own.chain_id.unwrap_or_default();
    let transaction: TxEnvelope = match body.kind {
        0 => {
            TxLegacy { chain_id: own.chain_id, nonce, gas_price: fee, gas_limit, to, value, input }
                .into_signed(signature)
                .into()
        }
        1 => {
            TxEip2930 { chain_id, nonce, gas_price: fee, gas_limit, to, value, access_list, input }
                .into_signed(signature)
                .into()
        }
        2 => TxEip1559 {
            chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas: fee,
            max_priority_fee_per_gas: priority_fee,
            to,
            value,
            access_list,
            input,
        }
        .into_signed(signature)
        .into(),
        _ => TxEip7702 {
            chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas: fee,
            max_priority_fee_per_gas: priority_fee,
            to: to.to().copied().context("a creation with authorizations")?,
            value,
            access_list,
            authorization_list: body.authorizations,
            input,
        }
        .into_signed(signature)
        .into(),
    };
    Ok(transaction.encoded_2718().into())
}

fn get_body(rest: &mut &[u8]) -> Result<Body> {
    let kind = match rest.first() {
        Some(&byte) if byte < LIST => take(rest, 1)?[0],
        _ => 0,
    };
    let header = Header::decode(rest)?;
    ensure!(header.list, "no list");
    let fields = &mut take(rest, header.payload_length)?;
    let mut body = Body { kind, value: U256::decode(fields)?, ..Body::default() };
    if kind >= 2 {
        body.priority_fee = u128::decode(fields)?;
    }
    body.fee = u128::decode(fields)?;
    body.input = Bytes::decode(fields)?;
    if kind >= 1 {
        body.access_list = AccessList::decode(fields)?;
    }
    match kind {
        0..=2 => {}
        4 => body.authorizations = Vec::decode(fields)?,
        _ => bail!("unknown kind {kind}"),
    }
    ensure!(fields.is_empty(), "unknown fields");
    Ok(body)
}

fn get_varints(rest: &mut &[u8], count: usize) -> Result<Vec<u64>> {
    (0..count).map(|_| Ok(varint::get(rest)?)).collect()
}

fn get_bits(rest: &mut &[u8], count: usize) -> Result<Vec<bool>> {
    let bytes = take(rest, count.div_ceil(8))?;
    let bit = |index: usize| bytes[bytes.len() - 1 - index / 8] >> (index % 8) & 1 == 1;
    Ok((0..count).map(bit).collect())
}

fn take<'b>(rest: &mut &'b [u8], count: usize) -> Result<&'b [u8]> {
    let (head, tail) = rest.split_at_checked(count).context("truncated")?;
    *rest = tail;
    Ok(head)
}
