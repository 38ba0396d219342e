//! One signed transaction, field by field into the columns.
//!
//! What is not the plain encoding of a known type for this chain is carried as its bytes: every
//! transaction comes back exactly as it was signed. Signatures stand apart, because nothing compresses
//! them: 64 bytes each, EIP-2098. Owns the shape of a transaction; calldata and numbers have their own
//! modules.

use super::{
    Malformed, calldata,
    columns::{Column, Columns, Cursors},
    number,
    table::Tables,
};
use alloy::{
    consensus::{
        Transaction as _, TxEip1559, TxEip2930, TxEip7702, TxEnvelope, TxLegacy,
        transaction::RlpEcdsaEncodableTx,
    },
    eips::eip2718::{Decodable2718, Encodable2718},
    primitives::{Address, Bytes, Signature, TxKind, U256},
    rlp::{Decodable, Encodable},
};
use executor::transaction::TRANSACTION_BYTES_MAX;
use std::collections::HashMap;

/// Bytes of a signature, EIP-2098.
pub(super) const SIGNATURE_BYTES: usize = 64;

/// Kind: four times the type, and these.
const CREATES: u8 = 2;
const IS_PROTECTED: u8 = 1;
/// Kind of a transaction that is carried as its bytes.
const RAW: u8 = 0xff;

const RECIPIENTS: [Column; 3] = [Column::ToLow, Column::ToHigh, Column::AddressNew];

/// Nonce forms below it are lengths, the others the distance from the nonce that was expected.
const NONCE_NEAR: u8 = 8;
/// Distances that have a form, on either side.
const NONCE_DISTANCE_MAX: i64 = 100;
/// Bytes of a nonce that has a form.
const NONCE_BYTES_MAX: usize = 7;

/// What is known while the transactions of a channel are written or read.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) chain_id: u64,
    pub(super) tables: Tables,
    /// The nonce of the last transaction to each recipient: who sends is not known before the
    /// signature is checked, and many senders talk to one recipient in turns.
    nonces: HashMap<TxKind, u64>,
}

impl Context {
    pub(super) fn new(chain_id: u64, tables: Tables) -> Self {
        Self { chain_id, tables, nonces: HashMap::new() }
    }
}

/// Writes a transaction's bytes, and its signature beside them.
pub(super) fn put(
    columns: &mut Columns,
    signatures: &mut Vec<u8>,
    context: &mut Context,
    raw: &[u8],
) {
    match plain(raw, context.chain_id) {
        Some((envelope, signature)) => {
            signatures.extend_from_slice(&signature);
            put_fields(columns, context, &envelope);
        }
        None => {
            columns.byte(Column::Kind, RAW);
            columns.varint(Column::RawLength, raw.len() as u64);
            columns.bytes(Column::Raw, raw);
        }
    }
}

/// The transaction, if the columns can say all of it.
fn plain(raw: &[u8], chain_id: u64) -> Option<(TxEnvelope, [u8; SIGNATURE_BYTES])> {
    let envelope = TxEnvelope::decode_2718_exact(raw).ok()?;
    let is_of_chain = envelope.chain_id().is_none_or(|id| id == chain_id);
    let fits = envelope.nonce() >> (8 * NONCE_BYTES_MAX) == 0;
    let is_known = !matches!(envelope, TxEnvelope::Eip4844(_));
    let signature = pack(envelope.signature())?;
    let comes_back = is_of_chain && fits && is_known && envelope.encoded_2718() == raw;
    comes_back.then_some((envelope, signature))
}

/// EIP-2098: r, and s with the parity in its highest bit; `None` where that bit is used.
fn pack(signature: &Signature) -> Option<[u8; SIGNATURE_BYTES]> {
    if signature.s().bit(255) {
        return None;
    }
    let mut packed = [0; SIGNATURE_BYTES];
    packed[..32].copy_from_slice(&signature.r().to_be_bytes::<32>());
    packed[32..].copy_from_slice(&signature.s().to_be_bytes::<32>());
    packed[32] |= u8::from(signature.v()) << 7;
    Some(packed)
}

fn unpack(packed: &[u8; SIGNATURE_BYTES]) -> Signature {
    let r = U256::from_be_slice(&packed[..32]);
    let s = U256::from_be_slice(&packed[32..]);
    Signature::new(r, s & (U256::MAX >> 1), s.bit(255))
}

fn put_fields(columns: &mut Columns, context: &mut Context, envelope: &TxEnvelope) {
    let kind = envelope.kind();
    let is_protected = envelope.is_legacy() && envelope.chain_id().is_some();
    let shape =
        if kind.is_create() { CREATES } else { 0 } | if is_protected { IS_PROTECTED } else { 0 };
    columns.byte(Column::Kind, envelope.tx_type() as u8 * 4 + shape);
    if let TxKind::Call(to) = kind {
        context.tables.addresses.put(columns, RECIPIENTS, to.into_array());
    }
    let mut number = |form, payload, value| number::put(columns, form, payload, value);
    match envelope.gas_price() {
        Some(price) => number(Column::GasPriceForm, Column::GasPrice, U256::from(price)),
        None => {
            let tip = envelope.max_priority_fee_per_gas().unwrap_or_default();
            let max = envelope.max_fee_per_gas();
            number(Column::MaxFeeForm, Column::MaxFee, U256::from(max));
            number(Column::MaxPriorityFeeForm, Column::MaxPriorityFee, U256::from(tip));
        }
    }
    number(Column::GasLimitForm, Column::GasLimit, U256::from(envelope.gas_limit()));
    number(Column::ValueForm, Column::Value, envelope.value());
    put_nonce(columns, context, kind, envelope.nonce());
    calldata::put(columns, &mut context.tables, envelope.input());
    if let Some(list) = envelope.access_list() {
        put_list(columns, [Column::AccessListLength, Column::AccessList], list);
    }
    if let TxEnvelope::Eip7702(signed) = envelope {
        let list = &signed.tx().authorization_list;
        put_list(columns, [Column::AuthorizationsLength, Column::Authorizations], list);
    }
}

/// Writes a list as it is: its length, and its RLP. Empty ones are their length alone.
fn put_list(columns: &mut Columns, [length, payload]: [Column; 2], list: &impl Encodable) {
    let mut rlp = Vec::new();
    list.encode(&mut rlp);
    let rlp = if rlp.len() == 1 { &[] } else { &*rlp };
    columns.varint(length, rlp.len() as u64);
    columns.bytes(payload, rlp);
}

/// The length of a part of a transaction. No part is longer than the whole may be; a list of the longest
/// column would take many times its bytes before the whole is looked at.
fn length_of(cursors: &mut Cursors<'_>, column: Column) -> Result<usize, Malformed> {
    let length = usize::try_from(cursors.varint(column)?).ok();
    length.filter(|length| *length <= TRANSACTION_BYTES_MAX).ok_or(Malformed::TransactionTooLong)
}

fn get_list<L: Decodable + Default>(
    cursors: &mut Cursors<'_>,
    [length, payload]: [Column; 2],
) -> Result<L, Malformed> {
    let length = length_of(cursors, length)?;
    let mut rlp = cursors.bytes(payload, length)?;
    if rlp.is_empty() {
        return Ok(L::default());
    }
    let list = L::decode(&mut rlp).map_err(|_| Malformed::List)?;
    if rlp.is_empty() { Ok(list) } else { Err(Malformed::List) }
}

fn put_nonce(columns: &mut Columns, context: &mut Context, to: TxKind, nonce: u64) {
    let expected = context.nonces.insert(to, nonce).map(|last| last.wrapping_add(1));
    let distance = expected.map(|expected| nonce.wrapping_sub(expected).cast_signed());
    match distance.filter(|it| (-NONCE_DISTANCE_MAX..NONCE_DISTANCE_MAX).contains(it)) {
        Some(distance) => {
            let zigzag = (distance << 1) ^ (distance >> 63);
            columns.byte(Column::NonceForm, NONCE_NEAR + zigzag.to_le_bytes()[0]);
        }
        None => {
            let length = 8 - (nonce.leading_zeros() / 8) as usize;
            columns.byte(Column::NonceForm, length.to_le_bytes()[0]);
            let bytes = nonce.to_be_bytes();
            columns.bytes(Column::Nonce, &bytes[8 - length..]);
        }
    }
}

fn get_nonce(
    cursors: &mut Cursors<'_>,
    context: &mut Context,
    to: TxKind,
) -> Result<u64, Malformed> {
    let form = cursors.byte(Column::NonceForm)?;
    let nonce = match form.checked_sub(NONCE_NEAR) {
        None => {
            let payload = cursors.bytes(Column::Nonce, usize::from(form))?;
            if payload.first() == Some(&0) {
                return Err(Malformed::Number);
            }
            payload.iter().fold(0, |nonce, byte| nonce << 8 | u64::from(*byte))
        }
        Some(zigzag) => {
            let expected = context.nonces.get(&to).ok_or(Malformed::Number)?.wrapping_add(1);
            let distance = i64::from(zigzag >> 1) ^ -i64::from(zigzag & 1);
            expected.wrapping_add_signed(distance)
        }
    };
    context.nonces.insert(to, nonce);
    Ok(nonce)
}

/// Reads a transaction, with the next of `signatures`.
///
/// # Errors
/// [`Malformed`].
pub(super) fn get(
    cursors: &mut Cursors<'_>,
    signatures: &mut &[u8],
    context: &mut Context,
) -> Result<Bytes, Malformed> {
    let kind = cursors.byte(Column::Kind)?;
    let raw: Bytes = if kind == RAW {
        let length = length_of(cursors, Column::RawLength)?;
        cursors.bytes(Column::Raw, length)?.to_vec().into()
    } else {
        let (packed, rest) = signatures.split_first_chunk().ok_or(Malformed::Truncated)?;
        *signatures = rest;
        get_fields(cursors, context, kind, &unpack(packed))?.into()
    };
    if raw.len() > TRANSACTION_BYTES_MAX {
        return Err(Malformed::TransactionTooLong);
    }
    Ok(raw)
}

/// The fields that every type has.
struct Fields {
    to: TxKind,
    gas_limit: u64,
    value: U256,
    nonce: u64,
    input: Bytes,
}

fn get_fields(
    cursors: &mut Cursors<'_>,
    context: &mut Context,
    kind: u8,
    signature: &Signature,
) -> Result<Vec<u8>, Malformed> {
    let (ty, shape) = (kind / 4, kind % 4);
    let to = match shape & CREATES {
        0 => TxKind::Call(Address::new(context.tables.addresses.read(cursors, RECIPIENTS)?)),
        _ => TxKind::Create,
    };
    let mut raw = Vec::new();
    let is_plain = shape & IS_PROTECTED == 0;
    match ty {
        0 => {
            let (price, fields) = priced(cursors, context, to)?;
            let Fields { to, gas_limit, value, nonce, input } = fields;
            let chain_id = (!is_plain).then_some(context.chain_id);
            let tx = TxLegacy { chain_id, nonce, gas_price: price, gas_limit, to, value, input };
            tx.eip2718_encode(signature, &mut raw);
        }
        1 if is_plain => {
            let (price, fields) = priced(cursors, context, to)?;
            let Fields { to, gas_limit, value, nonce, input } = fields;
            let access_list = get_list(cursors, [Column::AccessListLength, Column::AccessList])?;
            let (chain_id, gas_price) = (context.chain_id, price);
            let tx =
                TxEip2930 { chain_id, nonce, gas_price, gas_limit, to, value, access_list, input };
            tx.eip2718_encode(signature, &mut raw);
        }
        2 | 4 if is_plain => {
            let max_fee_per_gas = price(cursors, Column::MaxFeeForm, Column::MaxFee)?;
            let max_priority_fee_per_gas =
                price(cursors, Column::MaxPriorityFeeForm, Column::MaxPriorityFee)?;
            let Fields { to, gas_limit, value, nonce, input } = common(cursors, context, to)?;
            let access_list = get_list(cursors, [Column::AccessListLength, Column::AccessList])?;
            let chain_id = context.chain_id;
            if ty == 2 {
                let tx = TxEip1559 {
                    chain_id,
                    nonce,
                    gas_limit,
                    max_fee_per_gas,
                    max_priority_fee_per_gas,
                    to,
                    value,
                    access_list,
                    input,
                };
                tx.eip2718_encode(signature, &mut raw);
            } else {
                let TxKind::Call(to) = to else { return Err(Malformed::Kind) };
                let authorization_list =
                    get_list(cursors, [Column::AuthorizationsLength, Column::Authorizations])?;
                let tx = TxEip7702 {
                    chain_id,
                    nonce,
                    gas_limit,
                    max_fee_per_gas,
                    max_priority_fee_per_gas,
                    to,
                    value,
                    access_list,
                    authorization_list,
                    input,
                };
                tx.eip2718_encode(signature, &mut raw);
            }
        }
        _ => return Err(Malformed::Kind),
    }
    Ok(raw)
}

fn price(cursors: &mut Cursors<'_>, form: Column, payload: Column) -> Result<u128, Malformed> {
    u128::try_from(number::get(cursors, form, payload)?).map_err(|_| Malformed::Number)
}

fn priced(
    cursors: &mut Cursors<'_>,
    context: &mut Context,
    to: TxKind,
) -> Result<(u128, Fields), Malformed> {
    let price = price(cursors, Column::GasPriceForm, Column::GasPrice)?;
    Ok((price, common(cursors, context, to)?))
}

fn common(
    cursors: &mut Cursors<'_>,
    context: &mut Context,
    to: TxKind,
) -> Result<Fields, Malformed> {
    let gas_limit = number::get(cursors, Column::GasLimitForm, Column::GasLimit)?;
    let gas_limit = u64::try_from(gas_limit).map_err(|_| Malformed::Number)?;
    let value = number::get(cursors, Column::ValueForm, Column::Value)?;
    let nonce = get_nonce(cursors, context, to)?;
    let input = calldata::get(cursors, &mut context.tables)?.into();
    Ok(Fields { to, gas_limit, value, nonce, input })
}
