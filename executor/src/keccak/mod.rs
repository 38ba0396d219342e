//! keccak-256 of many messages at once: eight in the lanes of AVX-512, four in those of AVX2.
//!
//! Owns the lanes, the choice between them and the collecting of messages that fill them. A message
//! alone gains nothing here and is hashed by `alloy_primitives::keccak256`, which is also what every
//! backend is compared with and what [`Backend::Scalar`] calls. Which backend runs changes no hash,
//! only the time. Deliberately absent: other sponge functions, messages in pieces.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod batch;
#[cfg(target_arch = "x86_64")]
mod permutation;

pub use batch::Batch;

use alloy_primitives::B256;
use std::vec::Vec;

/// Bytes that one permutation takes in (the rate of keccak-256).
const RATE_BYTES: usize = 136;

/// 64-bit words of [`RATE_BYTES`].
const RATE_WORDS: usize = RATE_BYTES / 8;

/// Lanes of the widest backend.
const LANES_MAX: usize = 8;

/// How messages are hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// One after the other.
    Scalar,
    /// Four at a time.
    Avx2,
    /// Eight at a time.
    Avx512,
}

impl Backend {
    /// All of them, the slowest first.
    pub const ALL: [Self; 3] = [Self::Scalar, Self::Avx2, Self::Avx512];

    /// The fastest one that this processor has.
    #[must_use]
    pub fn detect() -> Self {
        let available = Self::ALL.into_iter().rev().find(|backend| backend.is_available());
        available.unwrap_or(Self::Scalar)
    }

    /// Whether this processor has it.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => std::arch::is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => std::arch::is_x86_feature_detected!("avx512f"),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => false,
        }
    }

    /// Messages hashed at a time.
    #[must_use]
    pub fn lanes(self) -> usize {
        match self {
            Self::Scalar => 1,
            Self::Avx2 => 4,
            Self::Avx512 => LANES_MAX,
        }
    }

    /// Messages from which on the lanes are faster than one message after the other, measured: eight
    /// lanes take as long as 2 messages, four as long as 2.3.
    fn messages_min(self) -> usize {
        match self {
            Self::Scalar => 1,
            Self::Avx2 => 3,
            Self::Avx512 => 2,
        }
    }
}

/// The hash of each message; `None` if this processor does not have the backend.
#[must_use]
pub fn hash_all<'m>(
    backend: Backend,
    messages: impl IntoIterator<Item = &'m [u8]>,
) -> Option<Vec<B256>> {
    let mut batch = Batch::new(backend)?;
    let mut hashes = Vec::new();
    for (index, message) in messages.into_iter().enumerate() {
        hashes.push(B256::ZERO);
        batch.push(index, message, &mut |index, hash| hashes[index] = hash);
    }
    batch.finish(&mut |index, hash| hashes[index] = hash);
    Some(hashes)
}
