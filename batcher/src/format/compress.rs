//! Compression of a channel's content: one brotli stream. Owns the bound on what comes out of a
//! decompressor, whatever went in.

use super::{CONTENT_BYTES_MAX, Malformed};
use brotli::{
    BrotliDecompressStream, BrotliResult, BrotliState,
    enc::{BrotliEncoderParams, StandardAlloc},
};

/// Base-2 logarithm of the compression window: 4 MiB, most of what any channel refers back to.
const WINDOW_BITS: i32 = 22;
/// Output is produced in pieces of this many bytes, so that a declared length alone allocates
/// nothing.
const PIECE_BYTES: usize = 64 << 10;

/// How hard the compressor works: brotli's quality.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quality(u8);

impl Quality {
    /// Some 30 times as fast as [`Self::DENSE`]; for a backlog.
    pub const FAST: Self = Self(5);
    /// 1 to 3 % smaller as posted, signatures included: 5,000 to 60,000 transactions a second on one
    /// core. Nothing is gained above it.
    pub const DENSE: Self = Self(10);

    /// Brotli quality `level`, capped at its highest, 11.
    #[must_use]
    pub fn new(level: u8) -> Self {
        Self(level.min(11))
    }
}

/// Compresses `content` into one stream. The same bytes and quality give the same stream.
#[must_use]
pub fn compress(content: &[u8], quality: Quality) -> Vec<u8> {
    let params = BrotliEncoderParams {
        quality: i32::from(quality.0),
        lgwin: WINDOW_BITS,
        size_hint: content.len(),
        ..BrotliEncoderParams::default()
    };
    let mut input = content;
    let mut out = Vec::new();
    // Neither reading from a slice nor writing to a vector can fail. Were it to, the encoder's
    // read-back of the channel would refuse it.
    let _ = brotli::BrotliCompress(&mut input, &mut out, &params);
    out
}

/// Decompresses a stream that must be exactly `compressed` and hold exactly `content_bytes` bytes.
///
/// # Errors
/// [`Malformed::ContentTooLong`] when more than [`CONTENT_BYTES_MAX`] is declared, checked before
/// anything is read; [`Malformed::Compression`] when the stream is damaged, has bytes after its end,
/// or holds any other number of bytes.
pub fn decompress(compressed: &[u8], content_bytes: usize) -> Result<Vec<u8>, Malformed> {
    if content_bytes > CONTENT_BYTES_MAX {
        return Err(Malformed::ContentTooLong);
    }
    let alloc = StandardAlloc::default;
    // Strict: RFC 7932 windows only, at most 16 MiB of ring buffer.
    let mut state = BrotliState::new_strict(alloc(), alloc(), alloc());
    let (mut available_in, mut input_offset, mut total_out) = (compressed.len(), 0, 0);
    let mut out = Vec::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let (mut available_out, mut output_offset) = (piece.len(), 0);
        let result = BrotliDecompressStream(
            &mut available_in,
            &mut input_offset,
            compressed,
            &mut available_out,
            &mut output_offset,
            &mut piece,
            &mut total_out,
            &mut state,
        );
        out.extend_from_slice(piece.get(..output_offset).ok_or(Malformed::Compression)?);
        if out.len() > content_bytes {
            return Err(Malformed::Compression);
        }
        match result {
            BrotliResult::NeedsMoreOutput => {}
            BrotliResult::ResultSuccess => break,
            BrotliResult::NeedsMoreInput | BrotliResult::ResultFailure => {
                return Err(Malformed::Compression);
            }
        }
    }
    if available_in == 0 && out.len() == content_bytes {
        Ok(out)
    } else {
        Err(Malformed::Compression)
    }
}
