//! keccak-256 in 4 lanes of AVX2. The scalar twin is `alloy_primitives::keccak256`; the test
//! that compares them is `executor/tests/keccak.rs`.
#![allow(
    unsafe_code,
    reason = "vector loads and stores take pointers; each is made from an array of the right length"
)]

use super::{RATE_WORDS, permutation::keccak_f};
use core::arch::x86_64::{
    __m256i, _mm256_andnot_si256, _mm256_loadu_si256, _mm256_or_si256, _mm256_set1_epi64x,
    _mm256_slli_epi64, _mm256_srli_epi64, _mm256_storeu_si256, _mm256_xor_si256,
};

/// Messages hashed at once.
pub(super) const LANES: usize = 4;

/// One word of every message.
type Words = [u64; LANES];

#[inline]
#[target_feature(enable = "avx2")]
fn load(words: &Words) -> __m256i {
    // SAFETY: `words` is 256 bits long and readable; the load needs no alignment.
    unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(lanes: __m256i) -> Words {
    let mut words = [0; LANES];
    // SAFETY: `words` is 256 bits long and writable; the store needs no alignment.
    unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), lanes) };
    words
}

#[inline]
#[target_feature(enable = "avx2")]
fn xor(a: __m256i, b: __m256i) -> __m256i {
    _mm256_xor_si256(a, b)
}

#[inline]
#[target_feature(enable = "avx2")]
fn xor5(a: __m256i, b: __m256i, c: __m256i, d: __m256i, e: __m256i) -> __m256i {
    xor(xor(xor(a, b), xor(c, d)), e)
}

#[inline]
#[target_feature(enable = "avx2")]
fn rotate<const LEFT: i32, const RIGHT: i32>(a: __m256i) -> __m256i {
    _mm256_or_si256(_mm256_slli_epi64::<LEFT>(a), _mm256_srli_epi64::<RIGHT>(a))
}

#[inline]
#[target_feature(enable = "avx2")]
fn chi(a: __m256i, b: __m256i, c: __m256i) -> __m256i {
    xor(a, _mm256_andnot_si256(b, c))
}

#[inline]
#[target_feature(enable = "avx2")]
fn broadcast(word: u64) -> __m256i {
    _mm256_set1_epi64x(word.cast_signed())
}

/// The first four words of the state, which are the hash, of every message. `blocks` holds the padded
/// messages word by word, each word for all lanes; all messages have the same number of blocks.
#[target_feature(enable = "avx2")]
pub(super) fn hash(blocks: &[u64]) -> [Words; 4] {
    let mut state = [[broadcast(0); 5]; 5];
    let (words, _) = blocks.as_chunks::<LANES>();
    for block in words.chunks_exact(RATE_WORDS) {
        for (index, word) in block.iter().enumerate() {
            let lane = &mut state[index / 5][index % 5];
            *lane = xor(*lane, load(word));
        }
        keccak_f!(state);
    }
    [store(state[0][0]), store(state[0][1]), store(state[0][2]), store(state[0][3])]
}
