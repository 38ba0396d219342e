//! Frames back to channels, by the order of appends alone: the frames of a channel follow each
//! other without gaps, and anything else ends the channel that was open.
//!
//! Owns the one open channel and the bound on its size. Does not decode what it assembles further
//! than to the batches; knows no L2 block, and not which channel leaves its tables to the next.

use crate::format::{
    CHANNEL_BYTES_MAX, Channel, ChannelId, FRAMES_MAX, Frame, History, Malformed, channel::id_of,
};
use alloy::primitives::Bytes;

/// What a frame led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assembly {
    /// The frame was added to the open channel, which needs more.
    Continued,
    /// The frame completed its channel. With the tables that it leaves if it is accepted.
    Complete(Channel, History),
    /// The frame, and with it its channel, is lost.
    Lost(FrameFault),
}

/// Why a frame or its channel does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum FrameFault {
    /// The frame does not continue the open channel and does not open one.
    #[error("frame does not continue the open channel")]
    OutOfOrder,
    /// The frame or its channel does not decode.
    #[error("{0}")]
    Malformed(#[from] Malformed),
}

#[derive(Clone, Debug)]
struct Open {
    id: ChannelId,
    next_index: u16,
    data: Vec<Bytes>,
    bytes: usize,
}

/// A channel whose last frame has not come yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenChannel {
    /// Its id.
    pub id: ChannelId,
    /// The frame it waits for.
    pub next_index: u16,
}

/// The open channel, if there is one.
#[derive(Clone, Debug, Default)]
pub struct Assembler(Option<Open>);

impl Assembler {
    /// The channel that waits for more frames.
    #[must_use]
    pub fn open(&self) -> Option<OpenChannel> {
        self.0.as_ref().map(|open| OpenChannel { id: open.id, next_index: open.next_index })
    }

    /// Drops the open channel; returns whether there was one.
    pub fn close(&mut self) -> bool {
        self.0.take().is_some()
    }

    /// Takes the next append's payload; a channel that it completes may continue `history`. The second
    /// value says whether a channel that was open is given up because this append does not continue it.
    pub fn push(&mut self, payload: &Bytes, history: &History) -> (Assembly, bool) {
        let frame = match Frame::decode(payload) {
            Ok(frame) => frame,
            Err(malformed) => return (Assembly::Lost(malformed.into()), self.close()),
        };
        let continues = self
            .0
            .as_ref()
            .is_some_and(|open| open.id == frame.channel && open.next_index == frame.index);
        let gave_up = !continues && self.close();
        if !continues {
            if frame.index != 0 {
                return (Assembly::Lost(FrameFault::OutOfOrder), gave_up);
            }
            self.0 = Some(Open { id: frame.channel, next_index: 0, data: Vec::new(), bytes: 0 });
        }
        (self.extend(frame, history), gave_up)
    }

    fn extend(&mut self, frame: Frame, history: &History) -> Assembly {
        let Some(mut open) = self.0.take() else {
            return Assembly::Lost(FrameFault::OutOfOrder);
        };
        open.bytes += frame.data.len();
        if open.bytes > CHANNEL_BYTES_MAX {
            return Assembly::Lost(Malformed::ChannelTooLong.into());
        }
        open.data.push(frame.data);
        if frame.is_last {
            return match complete(&open, history) {
                Ok((channel, left)) => Assembly::Complete(channel, left),
                Err(malformed) => Assembly::Lost(malformed.into()),
            };
        }
        let next_index = open.next_index.saturating_add(1);
        if next_index >= FRAMES_MAX {
            return Assembly::Lost(Malformed::ChannelTooLong.into());
        }
        open.next_index = next_index;
        self.0 = Some(open);
        Assembly::Continued
    }
}

fn complete(open: &Open, history: &History) -> Result<(Channel, History), Malformed> {
    let bytes = open.data.concat();
    if id_of(&bytes) != open.id {
        return Err(Malformed::ChannelId);
    }
    Channel::decode_after(&bytes, history)
}
