//! The bytes of a segment: its header, and records one after another. Pure; reads and writes no file.
//!
//! Numbers are little endian. A segment's header, 88 bytes:
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | magic |
//! | 8..12 | format |
//! | 12..16 | zero |
//! | 16..48 | configuration hash of the chain |
//! | 48..56 | sequence number, as in the file's name |
//! | 56..64 | position of the first record |
//! | 64..72 | height of the first record |
//! | 72..80 | bytes of the segment before that count; what follows them was never acknowledged |
//! | 80..88 | xxh3-64 of the above |
//!
//! A record, 40 bytes and the payload:
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | xxh3-64 of everything that follows, payload included |
//! | 8..12 | length of the payload |
//! | 12..16 | kind |
//! | 16..24 | position: 1 for the first record ever, then one more each |
//! | 24..32 | height |
//! | 32..40 | position of the first record of the group: all before it were durable already |
//! | 40.. | payload |

use super::error::Damage;
use alloy::primitives::B256;
use xxhash_rust::xxh3::xxh3_64;

/// Layout of segments. One of a higher format is refused. Format 1 has blocks and rollbacks only.
pub(super) const FORMAT: u32 = 2;
/// Size of a segment's header.
pub(super) const HEADER_BYTES: usize = 88;
/// Size of a record without its payload.
pub(super) const RECORD_OVERHEAD_BYTES: usize = 40;
/// Longest payload: 512 MiB. The 2.2 G gas of a full block buy 262 MiB of log data, or a tenth of it
/// in anything else; a longer record is refused before it is written, and a longer length is damage.
pub const RECORD_BYTES_MAX: usize = 512 << 20;

const MAGIC: &[u8; 8] = b"weft-log";

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// A block was added; the payload is a [`BlockRecord`](super::BlockRecord).
    Block,
    /// The blocks above the record's height were undone, and what was open with them; no payload.
    Rollback,
    /// A part of the block of the record's height was executed; the payload is a
    /// [`MiniBlockRecord`](super::MiniBlockRecord).
    MiniBlock,
    /// The mini-blocks of the block of the record's height will not be sealed; no payload.
    Retraction,
    /// L1 has the block of the record's height; the payload is a
    /// [`StageRecord`](super::StageRecord).
    Stage,
}

impl RecordKind {
    const fn code(self) -> u32 {
        match self {
            Self::Block => 1,
            Self::Rollback => 2,
            Self::MiniBlock => 3,
            Self::Retraction => 4,
            Self::Stage => 5,
        }
    }

    const fn of_code(code: u32) -> Option<Self> {
        match code {
            1 => Some(Self::Block),
            2 => Some(Self::Rollback),
            3 => Some(Self::MiniBlock),
            4 => Some(Self::Retraction),
            5 => Some(Self::Stage),
            _ => None,
        }
    }
}

/// A record as it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What it is about.
    pub kind: RecordKind,
    /// Its place in the log: 1 for the first record ever, then one more each.
    pub position: u64,
    /// Height of the block, or of the block that a rollback went back to.
    pub height: u64,
    /// Content.
    pub payload: &'a [u8],
    /// First record of the group that was synced together; all before it were durable already.
    pub(super) group_first: u64,
}

/// Header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) chain: B256,
    pub(super) sequence: u64,
    pub(super) first_position: u64,
    pub(super) first_height: u64,
    /// Bytes of the segment before that count.
    pub(super) previous_bytes: u64,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// Too short, or nothing but zeros: the segment was being created.
    Unfinished,
    /// Another magic.
    Foreign,
    /// A higher format.
    Newer(u32),
    /// Wrong checksum.
    Damaged,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(self.chain.as_slice());
        let numbers = [self.sequence, self.first_position, self.first_height, self.previous_bytes];
        numbers.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
        let checksum = xxh3_64(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    /// Reads the header at the start of `bytes`, which may go on after it.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let Some((header, _)) = bytes.split_at_checked(HEADER_BYTES) else {
            return Err(HeaderError::Unfinished);
        };
        if header.iter().all(|byte| *byte == 0) {
            return Err(HeaderError::Unfinished);
        }
        if !header.starts_with(MAGIC) {
            return Err(HeaderError::Foreign);
        }
        let format = u32_at(header, 8);
        if format > FORMAT {
            return Err(HeaderError::Newer(format));
        }
        if xxh3_64(&header[..80]) != u64_at(header, 80) {
            return Err(HeaderError::Damaged);
        }
        Ok(Self {
            chain: B256::from_slice(&header[16..48]),
            sequence: u64_at(header, 48),
            first_position: u64_at(header, 56),
            first_height: u64_at(header, 64),
            previous_bytes: u64_at(header, 72),
        })
    }
}

impl<'a> Record<'a> {
    /// Appends the record's bytes. The caller has checked the payload's length.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.reserve(RECORD_OVERHEAD_BYTES + self.payload.len());
        out.extend_from_slice(&[0; 8]);
        // Below 2^29 by RECORD_BYTES_MAX.
        let length = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&self.kind.code().to_le_bytes());
        for number in [self.position, self.height, self.group_first] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(self.payload);
        let checksum = xxh3_64(&out[start + 8..]);
        out[start..start + 8].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Reads the record at the start of `bytes`, and what follows it.
    pub(super) fn decode(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), Damage> {
        let (header, rest) = bytes.split_at_checked(RECORD_OVERHEAD_BYTES).ok_or(Damage::CutOff)?;
        let length = usize::try_from(u32_at(header, 8)).unwrap_or(usize::MAX);
        if length > RECORD_BYTES_MAX {
            return Err(Damage::CutOff);
        }
        let (payload, rest) = rest.split_at_checked(length).ok_or(Damage::CutOff)?;
        if xxh3_64(&bytes[8..RECORD_OVERHEAD_BYTES + length]) != u64_at(header, 0) {
            return Err(Damage::Checksum);
        }
        let kind = RecordKind::of_code(u32_at(header, 12)).ok_or(Damage::Kind)?;
        let (position, height) = (u64_at(header, 16), u64_at(header, 24));
        let group_first = u64_at(header, 32);
        Ok((Self { kind, position, height, payload, group_first }, rest))
    }

    /// Whether the bytes after a damaged record hold one that was written when the damaged one was
    /// durable already: then it is damage, and not the end of an unfinished write. `damaged` is the
    /// position that the damaged record should have.
    pub(super) fn proves_damage(bytes: &'a [u8], damaged: u64) -> bool {
        // No record is shorter than its overhead, so a position further away cannot be here.
        let reachable = (bytes.len() / RECORD_OVERHEAD_BYTES) as u64;
        let positions = damaged.saturating_add(1)..=damaged.saturating_add(reachable + 1);
        bytes.windows(RECORD_OVERHEAD_BYTES).enumerate().any(|(offset, header)| {
            // Cheap to rule out before the checksum is computed.
            positions.contains(&u64_at(header, 16))
                && Self::decode(&bytes[offset..])
                    .is_ok_and(|(record, _)| record.group_first > damaged)
        })
    }
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[offset..offset + 4]);
    u32::from_le_bytes(number)
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[offset..offset + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(position: u64, group_first: u64, payload: &[u8]) -> Record<'_> {
        Record { kind: RecordKind::Block, position, height: position, payload, group_first }
    }

    fn bytes(records: &[Record<'_>]) -> Vec<u8> {
        let mut out = Vec::new();
        records.iter().for_each(|record| record.encode(&mut out));
        out
    }

    #[test]
    fn a_header_reads_back_and_says_what_is_wrong() {
        let header = SegmentHeader {
            chain: B256::repeat_byte(7),
            sequence: 3,
            first_position: 9,
            first_height: 8,
            previous_bytes: 1000,
        };
        let good = header.encode();
        assert_eq!(good.len(), HEADER_BYTES);
        assert_eq!(SegmentHeader::decode(&good), Ok(header));
        let flipped = |at: usize| {
            let mut bytes = good.clone();
            bytes[at] ^= 0x10;
            SegmentHeader::decode(&bytes).unwrap_err()
        };
        assert_eq!(flipped(0), HeaderError::Foreign);
        assert_eq!(flipped(8), HeaderError::Newer(0x12));
        assert!((12..HEADER_BYTES).all(|at| flipped(at) == HeaderError::Damaged));
        assert_eq!(SegmentHeader::decode(&good[..87]), Err(HeaderError::Unfinished));
        assert_eq!(SegmentHeader::decode(&[0; 88]), Err(HeaderError::Unfinished));
    }

    #[test]
    fn a_later_record_proves_damage_unless_both_were_written_together() {
        let later = bytes(&[record(5, 5, b"later")]);
        assert!(Record::proves_damage(&later, 4));
        assert!(Record::proves_damage(&[&[1, 2, 3][..], &later].concat(), 4));
        assert!(!Record::proves_damage(&later[..later.len() - 1], 4));
        assert!(!Record::proves_damage(&bytes(&[record(5, 4, b"same group")]), 4));
        assert!(!Record::proves_damage(&bytes(&[record(3, 3, b"earlier")]), 4));
    }

    proptest! {
        #[test]
        fn records_read_back_and_any_changed_byte_is_noticed(
            payload in proptest::collection::vec(any::<u8>(), 0..300),
            numbers: (u64, u64, u64),
            at: prop::sample::Index,
            change in 1..=255_u8,
        ) {
            let (position, height, group_first) = numbers;
            let kind = RecordKind::Rollback;
            let record = Record { kind, position, height, payload: &payload, group_first };
            let mut good = bytes(&[record]);
            prop_assert_eq!(Record::decode(&good), Ok((record, &[][..])));
            let at = at.index(good.len());
            good[at] ^= change;
            prop_assert!(Record::decode(&good).is_err());
        }

        #[test]
        fn any_bytes_are_read_without_harm(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let _ = SegmentHeader::decode(&bytes);
            let _ = Record::decode(&bytes);
            prop_assert!(!Record::proves_damage(&bytes, 0));
        }
    }
}
