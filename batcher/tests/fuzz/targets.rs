//! The targets: what an input is, which inputs come from it, how much memory it may take.
//!
//! An outcome is a short text; inputs whose outcome is new are worth mutating further.

use super::{bombs, channel, dice::Dice, frames, packed, seeds::Seeds};
use batcher::format::{CHANNEL_BYTES_MAX, CONTENT_BYTES_MAX};
use std::{fs, path::Path};

/// Most memory that decompressing takes: the content in a vector that doubles while its old half is
/// still there, brotli's window of 16 MiB, its tables and one piece.
const STREAM_BYTES_MAX: usize = 3 * CONTENT_BYTES_MAX + (24 << 20);
/// Most that decoding a channel takes, in units of the longest content (32 MiB): the content in a vector
/// of twice its length (2), transactions in such vectors (2), a million of them listed, while that list
/// grows (1.5), nonces by recipient for as many as have room for a signature, while they grow (1.6),
/// tables, blocks and what counts references (1.2). What decompressing takes is given back before.
const CHANNEL_TAKES_MAX: usize = 9 * CONTENT_BYTES_MAX;
/// Most that unpacking takes: the payload, and the blobs that it packs to, as vectors grow.
const BLOBS_BYTES_MAX: usize = 6 << 20;

/// What is fuzzed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Appends, through derivation.
    Frame,
    /// Whole channels.
    Channel,
    /// Channels that are large once decompressed.
    Bomb,
    /// Blobs.
    Blob,
    /// Compressed streams.
    Compress,
}

/// What came out of an input.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) outcome: String,
    /// Most memory that the decoder held at once.
    pub(crate) peak_bytes: usize,
}

/// What inputs are made of and run on.
#[derive(Debug)]
pub(crate) struct World {
    frames: frames::World,
    seeds: Seeds,
}

impl World {
    pub(super) fn new() -> Self {
        let frames = frames::World::new();
        Self { seeds: Seeds::new(frames.genesis_hash()), frames }
    }
}

impl Target {
    pub(crate) const ALL: [Self; 5] =
        [Self::Frame, Self::Channel, Self::Bomb, Self::Blob, Self::Compress];

    /// As the command line and the corpus name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Frame => "frame",
            Self::Channel => "channel",
            Self::Bomb => "bomb",
            Self::Blob => "blob",
            Self::Compress => "compress",
        }
    }

    /// Most memory that one input may take.
    pub(crate) fn bytes_max(self) -> usize {
        match self {
            Self::Frame => CHANNEL_BYTES_MAX + CHANNEL_TAKES_MAX,
            Self::Channel | Self::Bomb => CHANNEL_TAKES_MAX,
            Self::Blob => BLOBS_BYTES_MAX,
            Self::Compress => STREAM_BYTES_MAX,
        }
    }

    /// The seeds made here, then the committed inputs: a file each, `<target>-<anything>`.
    pub(super) fn corpus(self, world: &World) -> Vec<Vec<u8>> {
        let mut inputs = match self {
            Self::Frame => frames::seeds(&world.seeds),
            Self::Channel | Self::Bomb => world.seeds.channels.clone(),
            Self::Blob => packed::blob_seeds(),
            Self::Compress => packed::stream_seeds(),
        };
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let is_mine = |name: &str| name.split('-').next() == Some(self.name());
        let mut files: Vec<_> = files
            .filter(|file| file.file_name().and_then(|it| it.to_str()).is_some_and(is_mine))
            .collect();
        files.sort();
        inputs.extend(files.iter().map(|file| fs::read(file).unwrap()));
        inputs
    }

    /// A new input, made of two known ones.
    pub(super) fn draw(
        self,
        world: &World,
        input: &[u8],
        other: &[u8],
        dice: &mut Dice,
    ) -> Vec<u8> {
        match self {
            Self::Frame => frames::draw(&world.seeds, input, other, dice),
            Self::Channel => channel::draw(&world.seeds, input, other, dice),
            Self::Bomb => bombs::draw(input, dice),
            Self::Blob => packed::draw_blobs(input, other, dice),
            Self::Compress => packed::draw_stream(input, other, dice),
        }
    }

    /// Runs an input. What came out, or what must not have.
    pub(super) fn check(self, world: &World, input: &[u8]) -> Result<Seen, String> {
        let seen = match self {
            Self::Frame => frames::check(&world.frames, input),
            Self::Channel | Self::Bomb => channel::check(&world.seeds, input),
            Self::Blob => packed::check_blobs(input),
            Self::Compress => packed::check_stream(input),
        }?;
        match seen.peak_bytes.cmp(&self.bytes_max()) {
            std::cmp::Ordering::Greater => {
                Err(format!("{} bytes of memory, more than {}", seen.peak_bytes, self.bytes_max()))
            }
            _ => Ok(seen),
        }
    }
}
