//! A frame: the piece of a channel that one Inbox append carries. Owns its encoding and the cutting
//! of a channel into frames; putting them together again is [`crate::derive`]'s, because it depends
//! on the order of appends.

use super::{
    FRAME_VERSION, FRAMES_MAX, Malformed,
    channel::{ChannelId, id_of},
    take,
};
use alloy::primitives::Bytes;

/// Bytes before a frame's data.
pub const FRAME_HEADER_BYTES: usize = 24;

/// One piece of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The channel it is a piece of.
    pub channel: ChannelId,
    /// Position among the channel's frames, from 0.
    pub index: u16,
    /// Whether the channel is complete with it.
    pub is_last: bool,
    /// The channel's bytes; never empty.
    pub data: Bytes,
}

impl Frame {
    /// The frame's bytes: the payload of one append.
    ///
    /// Data longer than 4 GiB cannot come from [`cut`]; its length is written modulo 2^32 and the
    /// result does not decode.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(FRAME_HEADER_BYTES + self.data.len());
        out.push(FRAME_VERSION);
        out.extend_from_slice(self.channel.as_slice());
        out.extend_from_slice(&self.index.to_be_bytes());
        out.push(u8::from(self.is_last));
        out.extend_from_slice(&u32::try_from(self.data.len()).unwrap_or(0).to_be_bytes());
        out.extend_from_slice(&self.data);
        out.into()
    }

    /// Reads [`Self::encode`] back; the data shares `payload`.
    ///
    /// # Errors
    /// [`Malformed`] when the payload is anything but exactly one frame.
    pub fn decode(payload: &Bytes) -> Result<Self, Malformed> {
        let ([version], rest) = take::<1>(payload)?;
        if version != FRAME_VERSION {
            return Err(Malformed::Version);
        }
        let (channel, rest) = take::<16>(rest)?;
        let (index, rest) = take::<2>(rest)?;
        let ([last], rest) = take::<1>(rest)?;
        let (length, data) = take::<4>(rest)?;
        if last > 1 {
            return Err(Malformed::Flag);
        }
        let length = u32::from_be_bytes(length) as usize;
        if length == 0 {
            return Err(Malformed::EmptyFrame);
        }
        match data.len().cmp(&length) {
            std::cmp::Ordering::Less => return Err(Malformed::Truncated),
            std::cmp::Ordering::Greater => return Err(Malformed::Trailing),
            std::cmp::Ordering::Equal => {}
        }
        Ok(Self {
            channel: channel.into(),
            index: u16::from_be_bytes(index),
            is_last: last == 1,
            data: payload.slice_ref(data),
        })
    }
}

/// Cuts a channel's bytes into frames of at most `frame_bytes_max` encoded bytes each. `None` when
/// the channel is empty, a frame has no room for data, or there would be more than [`FRAMES_MAX`] frames.
#[must_use]
pub fn cut(channel: &Bytes, frame_bytes_max: usize) -> Option<Vec<Frame>> {
    let data_max = frame_bytes_max.checked_sub(FRAME_HEADER_BYTES).filter(|max| *max > 0)?;
    let count = channel.len().div_ceil(data_max);
    let last = u16::try_from(count.checked_sub(1)?).ok().filter(|last| *last < FRAMES_MAX)?;
    let id = id_of(channel);
    let piece = |index: u16| {
        let start = usize::from(index) * data_max;
        let end = channel.len().min(start + data_max);
        Frame { channel: id, index, is_last: index == last, data: channel.slice(start..end) }
    };
    Some((0..=last).map(piece).collect())
}
