//! Packing of a payload into blobs and back, with the coder that alloy ships: 31 bytes to each field
//! element, the first element of the payload holding its length.
//!
//! Owns the capacity arithmetic and the rule that blobs are canonical: they are the packing of
//! exactly one payload, in as few blobs as it needs. Does not commit to blobs (that is
//! [`crate::kzg`]).

use super::Malformed;
use alloy::{
    consensus::{SidecarBuilder, SidecarCoder, SimpleCoder},
    eips::eip4844::{BYTES_PER_BLOB, Blob, FIELD_ELEMENT_BYTES_USIZE},
    primitives::Bytes,
};
use contracts::MAX_BLOBS;

/// Field elements of a blob.
const ELEMENTS: usize = BYTES_PER_BLOB / FIELD_ELEMENT_BYTES_USIZE;
/// Payload bytes in one field element: the 32nd would have to stay below the field's modulus.
const ELEMENT_BYTES: usize = 31;

/// Most payload bytes that `blobs` blobs hold: one field element is the length.
#[must_use]
pub const fn capacity_bytes(blobs: usize) -> usize {
    (blobs * ELEMENTS).saturating_sub(1) * ELEMENT_BYTES
}

/// Blobs that [`pack`] makes of a payload of `bytes` bytes.
#[must_use]
pub const fn blob_count(bytes: usize) -> usize {
    (bytes.div_ceil(ELEMENT_BYTES) + 1).div_ceil(ELEMENTS)
}

/// Most bytes of a frame posted as blobs: what an append's blobs hold together.
pub const BLOB_FRAME_BYTES_MAX: usize = capacity_bytes(MAX_BLOBS);

/// Packs `payload` into as few blobs as hold it. The caller keeps it within
/// [`BLOB_FRAME_BYTES_MAX`] and not empty; nothing here depends on it.
#[must_use]
pub fn pack(payload: &[u8]) -> Vec<Blob> {
    SidecarBuilder::<SimpleCoder>::from_slice(payload).take()
}

/// Reads the payload back.
///
/// # Errors
/// [`Malformed::BlobPacking`] unless the blobs are exactly what [`pack`] makes of some payload.
pub fn unpack(blobs: &[Blob]) -> Result<Bytes, Malformed> {
    if blobs.len() > MAX_BLOBS {
        return Err(Malformed::BlobPacking);
    }
    let pieces = SimpleCoder::default().decode_all(blobs).ok_or(Malformed::BlobPacking)?;
    let mut pieces = pieces.into_iter();
    let (Some(payload), None) = (pieces.next(), pieces.next()) else {
        return Err(Malformed::BlobPacking);
    };
    // The coder ignores what follows the payload and the first byte of each element; only one form
    // counts, so that nothing can hide in the rest.
    if pack(&payload) == blobs { Ok(payload.into()) } else { Err(Malformed::BlobPacking) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_is_exact() {
        for blobs in [1, 2, MAX_BLOBS] {
            let bytes = vec![7; capacity_bytes(blobs)];
            assert_eq!(pack(&bytes).len(), blobs);
            assert_eq!(unpack(&pack(&bytes)).unwrap(), bytes);
            assert_eq!(blob_count(bytes.len()), blobs);
            assert_eq!(blob_count(bytes.len() + 1), blobs + 1);
            let bytes = vec![7; capacity_bytes(blobs) + 1];
            assert_eq!(pack(&bytes).len(), blobs + 1);
        }
        assert_eq!(BLOB_FRAME_BYTES_MAX, 761_825);
    }

    #[test]
    fn only_the_canonical_packing_is_read() {
        let good = pack(b"weft");
        assert_eq!(unpack(&good).unwrap(), Bytes::from_static(b"weft"));
        for position in [0, 9, 32, 37, 64, BYTES_PER_BLOB - 1] {
            let mut bad = good.clone();
            bad[0][position] ^= 1;
            assert_eq!(unpack(&bad), Err(Malformed::BlobPacking), "at {position}");
        }
        let mut surplus = good;
        surplus.push(Blob::default());
        assert_eq!(unpack(&surplus), Err(Malformed::BlobPacking));
        assert_eq!(unpack(&[]), Err(Malformed::BlobPacking));
        assert_eq!(unpack(&[Blob::default()]), Err(Malformed::BlobPacking));
        assert_eq!(unpack(&[Blob::repeat_byte(0xff)]), Err(Malformed::BlobPacking));
    }
}
