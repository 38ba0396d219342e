//! keccak-256 in 8 lanes of AVX-512. The scalar twin is `alloy_primitives::keccak256`; the test
//! that compares them is `executor/tests/keccak.rs`.
#![allow(
    unsafe_code,
    reason = "vector loads and stores take pointers; each is made from an array of the right length"
)]

use super::{RATE_WORDS, permutation::keccak_f};
use core::arch::x86_64::{
    __m512i, _mm512_loadu_si512, _mm512_rol_epi64, _mm512_set1_epi64, _mm512_storeu_si512,
    _mm512_ternarylogic_epi64, _mm512_xor_si512,
};

/// Messages hashed at once.
pub(super) const LANES: usize = 8;

/// One word of every message.
type Words = [u64; LANES];

#[inline]
#[target_feature(enable = "avx512f")]
fn load(words: &Words) -> __m512i {
    // SAFETY: `words` is 512 bits long and readable; the load needs no alignment.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(lanes: __m512i) -> Words {
    let mut words = [0; LANES];
    // SAFETY: `words` is 512 bits long and writable; the store needs no alignment.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), lanes) };
    words
}

#[inline]
#[target_feature(enable = "avx512f")]
fn xor(a: __m512i, b: __m512i) -> __m512i {
    _mm512_xor_si512(a, b)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn xor5(a: __m512i, b: __m512i, c: __m512i, d: __m512i, e: __m512i) -> __m512i {
    // 0x96 is the truth table of a ^ b ^ c.
    let first = _mm512_ternarylogic_epi64::<0x96>(a, b, c);
    _mm512_ternarylogic_epi64::<0x96>(first, d, e)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn rotate<const LEFT: i32, const RIGHT: i32>(a: __m512i) -> __m512i {
    _mm512_rol_epi64::<LEFT>(a)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn chi(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    // 0xD2 is the truth table of a ^ (!b & c).
    _mm512_ternarylogic_epi64::<0xD2>(a, b, c)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn broadcast(word: u64) -> __m512i {
    _mm512_set1_epi64(word.cast_signed())
}

/// The first four words of the state, which are the hash, of every message. `blocks` holds the padded
/// messages word by word, each word for all lanes; all messages have the same number of blocks.
#[target_feature(enable = "avx512f")]
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
