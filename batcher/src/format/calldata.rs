//! Calldata: a selector, and words by class, calldata within calldata included.
//!
//! ```text
//! form 0, 1          a word of zeros, of ones
//! form 2, 3          an address that is in the table, that is new
//! form 4             a word that is in the table
//! form 5             a word in full; it gets a place
//! form 16 + n        a number of n bytes, 1 ..= 31, the first not zero; from 4 bytes on it gets a place
//! form 48 + n        n bytes, 1 ..= 24, the last not zero, then zeros; it gets a place
//! form 80 + m − 1    a mantissa of m bytes, 1 ..= 8, and a decimal exponent; it gets a place
//! ```
//! Owns the classes and how deep calldata may hold calldata; whether bytes mean anything is nobody's
//! business here: any bytes come back as they were.

use super::{
    Malformed,
    columns::{Column, Columns, Cursors},
    number::{decimal, scaled},
    table::{Tables, get_place, put_place},
};
use alloy::primitives::U256;
use executor::transaction::TRANSACTION_BYTES_MAX;

const WORD: usize = 32;
const SELECTOR: usize = 4;
/// Bytes of zeros after calldata within calldata, up to the next whole word.
const NESTED_PADDING: usize = WORD - SELECTOR;
/// How deep calldata within calldata is looked into. What is deeper is words like others.
const NESTING_MAX: usize = 4;

const ZEROS: u8 = 0;
const ONES: u8 = 1;
const ADDRESS_KNOWN: u8 = 2;
const ADDRESS_NEW: u8 = 3;
const KNOWN: u8 = 4;
const FULL: u8 = 5;
const NUMBER: u8 = 16;
const LEFT: u8 = 48;
const LEFT_BYTES_MAX: usize = 24;
const DECIMAL: u8 = 80;
const MANTISSA_BYTES_MAX: usize = 8;
/// Zeros from which on a decimal form pays, and most of them: more do not fit in half a word.
const EXPONENT_MIN: u8 = 3;
const EXPONENT_MAX: u8 = 38;
/// Numbers up to here are said as they are and get no place.
const SMALL_BYTES_MAX: usize = 3;

const SELECTORS: [Column; 3] = [Column::SelectorLow, Column::SelectorHigh, Column::SelectorNew];
const ADDRESS_PLACE: [Column; 2] = [Column::WordAddressLow, Column::WordAddressHigh];
const WORD_PLACE: [Column; 2] = [Column::WordKnownLow, Column::WordKnownHigh];

fn number_column(length: usize) -> Column {
    match length {
        1 => Column::Word1,
        2 => Column::Word2,
        3 => Column::Word3,
        _ => Column::WordNumber,
    }
}

/// Writes calldata.
pub(super) fn put(columns: &mut Columns, tables: &mut Tables, data: &[u8]) {
    columns.varint(Column::DataLength, data.len() as u64);
    let Some((selector, body)) = data.split_first_chunk::<SELECTOR>() else {
        return columns.bytes(Column::DataRaw, data);
    };
    tables.selectors.put(columns, SELECTORS, *selector);
    let is_words = is_words(body);
    columns.byte(Column::DataIsWords, u8::from(is_words));
    if is_words {
        put_words(columns, tables, body, 0);
    } else {
        columns.bytes(Column::DataRaw, body);
    }
}

/// Reads calldata.
///
/// # Errors
/// [`Malformed`], among others when it is longer than a transaction may be.
pub(super) fn get(cursors: &mut Cursors<'_>, tables: &mut Tables) -> Result<Vec<u8>, Malformed> {
    let length = cursors.varint(Column::DataLength)?;
    let length = usize::try_from(length).map_err(|_| Malformed::TransactionTooLong)?;
    if length > TRANSACTION_BYTES_MAX {
        return Err(Malformed::TransactionTooLong);
    }
    if length < SELECTOR {
        return Ok(cursors.bytes(Column::DataRaw, length)?.to_vec());
    }
    let mut data = tables.selectors.read(cursors, SELECTORS)?.to_vec();
    match get_flag(cursors, Column::DataIsWords)? {
        true => get_words(cursors, tables, (&mut data, length), 0)?,
        false => data.extend_from_slice(cursors.bytes(Column::DataRaw, length - SELECTOR)?),
    }
    Ok(data)
}

/// Whether it is worth looking at these bytes as words: a third of them begin or end with zero. The
/// answer is written, so a reader need not agree.
fn is_words(body: &[u8]) -> bool {
    let (words, _) = body.as_chunks::<WORD>();
    let padded = words.iter().filter(|word| word[0] == 0 || word[WORD - 1] == 0).count();
    !words.is_empty()
        && if words.len() > 512 { padded * 4 >= words.len() * 3 } else { padded * 3 >= words.len() }
}

fn get_flag(cursors: &mut Cursors<'_>, column: Column) -> Result<bool, Malformed> {
    match cursors.byte(column)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed::Flag),
    }
}

/// The length that a word may be of calldata within the `left` bytes after it.
fn nested_length(word: &[u8; WORD], left: usize, depth: usize) -> Option<usize> {
    let (zeros, length) = word.split_last_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let may_be = depth < NESTING_MAX
        && zeros.iter().all(|byte| *byte == 0)
        && length >= SELECTOR
        && length % WORD == SELECTOR
        && length.checked_add(NESTED_PADDING)? <= left;
    may_be.then_some(length)
}

fn put_words(columns: &mut Columns, tables: &mut Tables, mut body: &[u8], depth: usize) {
    while let Some((word, rest)) = body.split_first_chunk::<WORD>() {
        put_word(columns, tables, word);
        body = rest;
        let Some(length) = nested_length(word, body.len(), depth) else { continue };
        let (nested, padding) = body.split_at(length);
        let is_nested = padding[..NESTED_PADDING] == [0; NESTED_PADDING];
        columns.byte(Column::IsNested, u8::from(is_nested));
        if let (true, Some((selector, inner))) = (is_nested, nested.split_first_chunk()) {
            tables.selectors.put(columns, SELECTORS, *selector);
            put_words(columns, tables, inner, depth + 1);
            body = &padding[NESTED_PADDING..];
        }
    }
    columns.bytes(Column::WordTail, body);
}

/// Appends what [`put_words`] wrote until `data` has `end` bytes.
fn get_words(
    cursors: &mut Cursors<'_>,
    tables: &mut Tables,
    (data, end): (&mut Vec<u8>, usize),
    depth: usize,
) -> Result<(), Malformed> {
    while end - data.len() >= WORD {
        let word = get_word(cursors, tables)?;
        data.extend_from_slice(&word);
        let Some(length) = nested_length(&word, end - data.len(), depth) else { continue };
        if get_flag(cursors, Column::IsNested)? {
            let inner_end = data.len() + length;
            data.extend_from_slice(&tables.selectors.read(cursors, SELECTORS)?);
            get_words(cursors, tables, (data, inner_end), depth + 1)?;
            data.extend_from_slice(&[0; NESTED_PADDING]);
        }
    }
    data.extend_from_slice(cursors.bytes(Column::WordTail, end - data.len())?);
    Ok(())
}

fn low(length: usize) -> u8 {
    length.to_le_bytes()[0]
}

fn put_word(columns: &mut Columns, tables: &mut Tables, word: &[u8; WORD]) {
    let form = |columns: &mut Columns, code| columns.byte(Column::WordForm, code);
    let length = WORD - word.iter().take_while(|byte| **byte == 0).count();
    let filled = WORD - word.iter().rev().take_while(|byte| **byte == 0).count();
    if length == 0 {
        return form(columns, ZEROS);
    }
    if *word == [0xff; WORD] {
        return form(columns, ONES);
    }
    let number = &word[WORD - length..];
    if (17..=20).contains(&length) && filled > 20 {
        let mut address = [0; 20];
        address.copy_from_slice(&word[12..]);
        return match tables.addresses.find(&address) {
            Some(place) => {
                form(columns, ADDRESS_KNOWN);
                put_place(columns, ADDRESS_PLACE, place);
            }
            None => {
                form(columns, ADDRESS_NEW);
                columns.bytes(Column::AddressNew, &address);
                tables.addresses.add(address);
            }
        };
    }
    if length <= SMALL_BYTES_MAX {
        form(columns, NUMBER + low(length));
        return columns.bytes(number_column(length), number);
    }
    if let Some(place) = tables.words.find(word) {
        form(columns, KNOWN);
        return put_place(columns, WORD_PLACE, place);
    }
    tables.words.add(*word);
    if length <= WORD / 2 && put_decimal(columns, word, length) {
        return;
    }
    if length > WORD / 2 && filled <= LEFT_BYTES_MAX {
        form(columns, LEFT + low(filled));
        columns.bytes(Column::WordLeft, &word[..filled]);
    } else if length < WORD {
        form(columns, NUMBER + low(length));
        columns.bytes(Column::WordNumber, number);
    } else {
        form(columns, FULL);
        columns.bytes(Column::WordFull, word);
    }
}

/// Writes a number by its decimal digits, where that is shorter.
fn put_decimal(columns: &mut Columns, word: &[u8; WORD], length: usize) -> bool {
    let (mantissa, exponent) = decimal(U256::from_be_bytes(*word), EXPONENT_MAX);
    let short = mantissa.byte_len();
    let pays = exponent >= EXPONENT_MIN && short < length && short <= MANTISSA_BYTES_MAX;
    if pays {
        columns.byte(Column::WordForm, DECIMAL + low(short) - 1);
        columns.byte(Column::WordExponent, exponent);
        columns.bytes(Column::WordMantissa, &mantissa.to_be_bytes::<WORD>()[WORD - short..]);
    }
    pays
}

fn get_word(cursors: &mut Cursors<'_>, tables: &mut Tables) -> Result<[u8; WORD], Malformed> {
    let form = cursors.byte(Column::WordForm)?;
    let mut word = [0; WORD];
    match form {
        ZEROS => return Ok(word),
        ONES => return Ok([0xff; WORD]),
        ADDRESS_KNOWN | ADDRESS_NEW => {
            let address = match form {
                ADDRESS_KNOWN => tables.addresses.get(get_place(cursors, ADDRESS_PLACE)?)?,
                _ => {
                    let address = cursors.array(Column::AddressNew)?;
                    tables.addresses.learn(address);
                    address
                }
            };
            word[WORD - 20..].copy_from_slice(&address);
            return Ok(word);
        }
        KNOWN => return tables.words.get(get_place(cursors, WORD_PLACE)?),
        FULL => word = cursors.array(Column::WordFull)?,
        17..=47 => {
            let length = usize::from(form - NUMBER);
            word[WORD - length..].copy_from_slice(cursors.bytes(number_column(length), length)?);
            if length <= SMALL_BYTES_MAX {
                return Ok(word);
            }
        }
        49..=72 => {
            let length = usize::from(form - LEFT);
            word[..length].copy_from_slice(cursors.bytes(Column::WordLeft, length)?);
        }
        80..=87 => {
            let exponent = cursors.byte(Column::WordExponent)?;
            let length = usize::from(form - DECIMAL) + 1;
            word = scaled(cursors.bytes(Column::WordMantissa, length)?, exponent)?.to_be_bytes();
        }
        _ => return Err(Malformed::Number),
    }
    tables.words.learn(word);
    Ok(word)
}
