//! What carries a frame to L1, and what that costs: blobs or calldata, by today's prices.
//!
//! Pure arithmetic on a [`Market`]. Nothing of one kind is ever in flight beside the other: the
//! transaction manager brings one transaction to its end before the next. Owns the choice; sends nothing.

use crate::{
    encoder::EncoderConfig,
    format::{BLOCKS_MAX, CALLDATA_FRAME_BYTES_MAX, blob, compress::Quality},
    txmgr::Market,
};

/// Gas of an append with six blobs, measured at most 95,890, with room for dearer storage.
pub const APPEND_BLOBS_GAS: u64 = 250_000;
/// Gas of an append as calldata besides its bytes.
pub const APPEND_CALLDATA_GAS: u64 = 250_000;
/// Highest price of a calldata byte (EIP-7623), in gas.
pub const CALLDATA_BYTE_GAS: u64 = 40;
/// Gas that an append really takes besides its bytes: the same for either carrier, to some thousands.
const APPEND_GAS: u128 = 62_000;
/// Gas of one blob (EIP-4844), whatever is in it.
const BLOB_GAS: u128 = 131_072;
/// Blocks that may wait for the encoder before it compresses for speed. A minute of blocks; a poster
/// that keeps up takes a few at a time.
const BACKLOG_BLOCKS_MAX: u64 = 240;
/// Channels from one fresh one to the next. A start reads so many again, an hour's worth when there is
/// little traffic; a fresh one is a few per cent larger than one that continues, so more gain nothing.
const CONTINUED_MAX: u32 = 64;

/// What carries one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// Blobs (EIP-4844).
    Blob,
    /// Calldata of the appending transaction.
    Calldata,
}

/// What may carry the frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DataAvailability {
    /// Blobs.
    #[default]
    Blob,
    /// Calldata.
    Calldata,
    /// What costs less when a channel is cut, and again when a frame is sent.
    Cheaper,
}

impl Carrier {
    /// Most bytes of one frame.
    #[must_use]
    pub const fn frame_bytes_max(self) -> usize {
        match self {
            Self::Blob => blob::BLOB_FRAME_BYTES_MAX,
            Self::Calldata => CALLDATA_FRAME_BYTES_MAX,
        }
    }

    /// What an append of a frame costs, in wei: a blob as a whole however little is in it, calldata by
    /// the byte, at the floor price that data without zeros has.
    #[must_use]
    pub fn cost_wei(self, frame_bytes: usize, market: &Market) -> u128 {
        let gas_wei = market.base_fee_wei.saturating_add(market.priority_fee_wei);
        let bytes = frame_bytes as u128;
        match self {
            Self::Blob => {
                let blob_gas = BLOB_GAS.saturating_mul(blob::blob_count(frame_bytes) as u128);
                let blobs_wei = blob_gas.saturating_mul(market.blob_base_fee_wei);
                APPEND_GAS.saturating_mul(gas_wei).saturating_add(blobs_wei)
            }
            Self::Calldata => {
                let gas = APPEND_GAS + bytes.saturating_mul(CALLDATA_BYTE_GAS.into());
                gas.saturating_mul(gas_wei)
            }
        }
    }
}

impl DataAvailability {
    /// What carries a frame of this length.
    #[must_use]
    pub fn carrier(self, frame_bytes: usize, market: &Market) -> Carrier {
        match self {
            Self::Blob => Carrier::Blob,
            Self::Calldata => Carrier::Calldata,
            Self::Cheaper if frame_bytes > CALLDATA_FRAME_BYTES_MAX => Carrier::Blob,
            Self::Cheaper => {
                let cost = |carrier: Carrier| carrier.cost_wei(frame_bytes, market);
                let calldata_pays = cost(Carrier::Calldata) < cost(Carrier::Blob);
                if calldata_pays { Carrier::Calldata } else { Carrier::Blob }
            }
        }
    }

    /// For what channels are cut when there is enough for full frames.
    #[must_use]
    pub fn carrier_of_full(self, market: &Market) -> Carrier {
        match self {
            Self::Blob => Carrier::Blob,
            Self::Calldata => Carrier::Calldata,
            Self::Cheaper => {
                // By the byte: full frames of the two are not as long.
                let cost = |carrier: Carrier, other: Carrier| {
                    let bytes = carrier.frame_bytes_max();
                    let wei = carrier.cost_wei(bytes, market);
                    wei.saturating_mul(other.frame_bytes_max() as u128)
                };
                let (blob, calldata) = (Carrier::Blob, Carrier::Calldata);
                if cost(calldata, blob) < cost(blob, calldata) { calldata } else { blob }
            }
        }
    }

    /// The longest frame that something of it carries.
    #[must_use]
    pub fn frame_bytes_max(self) -> usize {
        let carrier = match self {
            Self::Blob | Self::Cheaper => Carrier::Blob,
            Self::Calldata => Carrier::Calldata,
        };
        carrier.frame_bytes_max()
    }

    /// Encoder settings that fill the carrier: a channel is one frame unless it compresses worse
    /// than the one before, and no block waits longer than `age_secs_max`.
    #[must_use]
    pub fn encoder_config(self, chain_id: u64, age_secs_max: u64) -> EncoderConfig {
        let frame_bytes_max = self.frame_bytes_max();
        EncoderConfig {
            chain_id,
            frame_bytes_max,
            target_bytes: target_bytes(frame_bytes_max),
            blocks_max: BLOCKS_MAX,
            age_secs_max,
            quality: Quality::DENSE,
            backlog_quality: Quality::FAST,
            backlog_blocks_max: BACKLOG_BLOCKS_MAX,
            continued_max: CONTINUED_MAX,
        }
    }
}

/// Compressed size at which a channel closes: a little less than a frame, because it is an estimate.
pub(crate) const fn target_bytes(frame_bytes_max: usize) -> usize {
    frame_bytes_max / 100 * 95
}

#[cfg(test)]
mod tests {
    use super::*;

    const GWEI: u128 = 1_000_000_000;

    fn market(base_fee_wei: u128, blob_base_fee_wei: u128) -> Market {
        Market { base_fee_wei, priority_fee_wei: 0, blob_base_fee_wei }
    }

    /// A full blob costs what its bytes cost as calldata at a blob fee of 39.7 base fees (40 gas a
    /// byte, 130,044 bytes in OP's packing; in ours 126,971 bytes, and 38.7).
    #[test]
    fn full_frames_turn_over_where_a_blob_costs_its_bytes() {
        let cut = |blob_fee| DataAvailability::Cheaper.carrier_of_full(&market(GWEI, blob_fee));
        assert_eq!(cut(1), Carrier::Blob);
        assert_eq!(cut(39 * GWEI), Carrier::Blob);
        assert_eq!(cut(46 * GWEI), Carrier::Calldata);
        assert_eq!(DataAvailability::Blob.carrier_of_full(&market(GWEI, 99 * GWEI)), Carrier::Blob);
    }

    #[test]
    fn a_short_frame_does_not_pay_for_a_whole_blob() {
        let carrier =
            |bytes, blob_fee| DataAvailability::Cheaper.carrier(bytes, &market(GWEI, blob_fee));
        assert_eq!(carrier(3_000, GWEI), Carrier::Calldata);
        assert_eq!(carrier(3_000, GWEI / 2), Carrier::Blob);
        assert_eq!(carrier(90_000, GWEI), Carrier::Blob);
        // More than calldata takes is for blobs at any price.
        assert_eq!(carrier(CALLDATA_FRAME_BYTES_MAX + 1, 1_000 * GWEI), Carrier::Blob);
        assert_eq!(carrier(CALLDATA_FRAME_BYTES_MAX, 1_000 * GWEI), Carrier::Calldata);
    }

    #[test]
    fn costs_are_those_of_the_formulas() {
        let market = market(2 * GWEI, 3 * GWEI);
        let calldata = (62_000 + 40 * 1_000) * 2 * GWEI;
        assert_eq!(Carrier::Calldata.cost_wei(1_000, &market), calldata);
        let two_blobs = 62_000 * 2 * GWEI + 2 * 131_072 * 3 * GWEI;
        assert_eq!(Carrier::Blob.cost_wei(130_000, &market), two_blobs);
    }
}
