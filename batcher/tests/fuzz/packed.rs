//! Blobs and compressed streams: drawn, and checked against a second reading of what they mean.
//!
//! Input of blobs: their number in one byte, then their bytes without the zeros at the end. Input of
//! streams: the declared length in four bytes, then the stream.

use super::{dice::Dice, memory::measured, mutate, parts::stored, seeds::content, targets::Seen};
use alloy::eips::eip4844::{BYTES_PER_BLOB, Blob};
use batcher::format::{
    CONTENT_BYTES_MAX, Malformed,
    blob::{BLOB_FRAME_BYTES_MAX, blob_count, pack, unpack},
    compress::{Quality, compress, decompress},
};
use std::io::Read;

const ELEMENT: usize = 32;
/// Most blobs of an append.
const BLOBS_MAX: usize = 6;
/// Bytes beyond the declared length that a reference reads to see that a stream goes on.
const BEYOND: u64 = 1;

fn of_blobs(blobs: &[Blob]) -> Vec<u8> {
    let mut input = vec![blobs.len() as u8];
    blobs.iter().for_each(|blob| input.extend_from_slice(blob.as_slice()));
    let zeros = input.iter().rev().take_while(|byte| **byte == 0).count();
    input.truncate((input.len() - zeros).max(1));
    input
}

fn blobs(input: &[u8]) -> Vec<Blob> {
    let Some((count, bytes)) = input.split_first() else { return Vec::new() };
    let mut bytes = bytes.to_vec();
    bytes.resize(usize::from(*count % 9) * BYTES_PER_BLOB, 0);
    bytes.chunks(BYTES_PER_BLOB).map(Blob::from_slice).collect()
}

/// Payloads in one blob and more.
pub(super) fn blob_seeds() -> Vec<Vec<u8>> {
    let lengths = [1, 30, 31, 32, 1_000, 127 * 31];
    lengths.iter().map(|length| of_blobs(&pack(&vec![7; *length]))).collect()
}

/// Blobs, mutated where it matters.
pub(super) fn draw_blobs(input: &[u8], other: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut input = match dice.below(10) {
        0..4 => {
            let length = mutate::any_size(dice, 19).clamp(1, BLOB_FRAME_BYTES_MAX + 100);
            let payload = content(dice, length);
            let blobs = pack(&payload);
            let count = if dice.chance(20) { blobs.len() + 1 } else { blobs.len() };
            let mut input = of_blobs(&blobs);
            input[0] = count as u8;
            input
        }
        4 => mutate::some(input, other, dice),
        _ => input.to_vec(),
    };
    for _ in 0..dice.below(3) {
        let blobs = usize::from(input.first().map_or(0, |count| count % 9)).max(1);
        let in_head = dice.index(3 * ELEMENT);
        let first_of_element = dice.index(blobs * BYTES_PER_BLOB / ELEMENT) * ELEMENT;
        let anywhere = dice.index(blobs * BYTES_PER_BLOB);
        let at = 1 + dice.pick(&[in_head, first_of_element, anywhere]);
        input.resize(input.len().max(at + 1), 0);
        input[at] ^= 1 << dice.below(8);
    }
    input
}

/// What blobs hold, read straight from `README.md`.
fn reference(blobs: &[Blob]) -> Option<Vec<u8>> {
    let bytes: Vec<u8> = blobs.iter().flat_map(|blob| blob.as_slice()).copied().collect();
    let (head, _) = bytes.split_first_chunk::<ELEMENT>()?;
    let length = usize::try_from(u64::from_be_bytes(head[1..9].try_into().ok()?)).ok()?;
    let is_short = length > 0 && length <= BLOB_FRAME_BYTES_MAX && blobs.len() <= BLOBS_MAX;
    let is_clean = bytes.iter().step_by(ELEMENT).chain(&head[9..]).all(|byte| *byte == 0);
    if !is_short || !is_clean || blob_count(length) != blobs.len() {
        return None;
    }
    let elements = bytes[ELEMENT..].chunks(ELEMENT);
    let mut packed: Vec<u8> = elements.flat_map(|element| &element[1..]).copied().collect();
    let payload = packed.drain(..length).collect();
    packed.iter().all(|byte| *byte == 0).then_some(payload)
}

/// Unpacks.
pub(super) fn check_blobs(input: &[u8]) -> Result<Seen, String> {
    let blobs = blobs(input);
    let (unpacked, taken) = measured(|| unpack(&blobs));
    let expected = reference(&blobs);
    if unpacked.as_ref().ok().map(|payload| payload.as_ref()) != expected.as_deref() {
        let (got, expected) = (unpacked.map(|it| it.len()), expected.map(|it| it.len()));
        return Err(format!("{got:?} bytes, expected {expected:?}"));
    }
    let outcome = match unpacked {
        Ok(payload) => format!("2^{} bytes of {} blobs", payload.len().ilog2(), blobs.len()),
        Err(Malformed::BlobPacking) => format!("{} blobs @{}", blobs.len(), taken.allocations),
        Err(other) => return Err(format!("another reason: {other}")),
    };
    Ok(Seen { outcome, peak_bytes: taken.peak_bytes })
}

fn of_stream(declared: usize, stream: &[u8]) -> Vec<u8> {
    [&(declared as u32).to_be_bytes()[..], stream].concat()
}

/// Streams of each quality.
pub(super) fn stream_seeds() -> Vec<Vec<u8>> {
    let text = b"what was said before is not said again, what was said before ".repeat(9);
    let of_quality = |level| of_stream(text.len(), &compress(&text, Quality::new(level)));
    (0..12).map(of_quality).chain([of_stream(text.len(), &stored(&text))]).collect()
}

/// Streams, mutated, mostly with the length that comes out of them.
pub(super) fn draw_stream(input: &[u8], other: &[u8], dice: &mut Dice) -> Vec<u8> {
    let stream = input.get(4..).unwrap_or_default();
    let (stream, bytes) = match dice.below(100) {
        // What is long goes over the limit, too, where no length can be declared.
        0 if dice.chance(10) => {
            let bytes = mutate::any_size(dice, 26);
            let stream = compress(&content(dice, bytes), Quality::new(dice.byte(6)));
            let is_changed = dice.chance(50);
            (if is_changed { mutate::some(&stream, other, dice) } else { stream }, bytes)
        }
        0..15 => {
            let bytes = mutate::any_size(dice, 14);
            let content = content(dice, bytes);
            let stream = compress(&content, Quality::new(dice.byte(12)));
            (mutate::some(&stream, other, dice), bytes)
        }
        _ => {
            let stream = mutate::some(stream, other.get(4..).unwrap_or_default(), dice);
            let is_read = dice.chance(70);
            let bytes = if is_read { read(&stream, 1 << 20).len() } else { 0 };
            (stream, bytes)
        }
    };
    let any = dice.pick(&mutate::NUMBERS) as usize;
    let declared = dice.weighted(&[(8, bytes), (1, any), (1, bytes + 1), (1, bytes.max(1) - 1)]);
    of_stream(declared, &stream)
}

/// As much as comes out of a stream with the decompressor's own reader, at most `most`.
fn read(stream: &[u8], most: u64) -> Vec<u8> {
    let mut out = Vec::new();
    // What came before an error is there all the same.
    let _ = brotli::Decompressor::new(stream, 4_096).take(most).read_to_end(&mut out);
    out
}

/// Decompresses.
pub(super) fn check_stream(input: &[u8]) -> Result<Seen, String> {
    let Some((declared, stream)) = input.split_first_chunk() else {
        return Ok(Seen { outcome: "none".to_owned(), peak_bytes: 0 });
    };
    let declared = u32::from_be_bytes(*declared) as usize;
    let (result, taken) = measured(|| decompress(stream, declared));
    let outcome = match &result {
        Ok(content) => {
            if content.len() != declared || declared > CONTENT_BYTES_MAX {
                return Err(format!("{} bytes of {declared}", content.len()));
            }
            if read(stream, declared as u64 + BEYOND) != *content {
                return Err("another content".to_owned());
            }
            format!("2^{} bytes", declared.checked_ilog2().unwrap_or_default())
        }
        Err(malformed) => malformed.to_string(),
    };
    let outcome = format!("{outcome} @{}", taken.allocations);
    Ok(Seen { outcome, peak_bytes: taken.peak_bytes })
}
