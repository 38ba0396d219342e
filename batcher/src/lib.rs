//! Blocks to L1 and back: the batch format, the encoder, derivation, and the tasks that post.
//!
//! The pure core is [`format`](mod@format) (bytes), [`encoder`] (which blocks form a channel) and
//! [`mod@derive`] (bytes and L1 blocks to block inputs). The shell around it reads L1 ([`l1`]), sends L1
//! transactions ([`txmgr`]) and drives both ([`poster`], [`proposer`]).
//!
//! Deliberately absent: execution of blocks, storage (the node implements the traits here), and L2
//! networking. The wire format is drawn in `README.md` of this crate.

pub mod archive;
pub mod carrier;
pub mod control;
pub mod derive;
pub mod encoder;
pub mod format;
pub mod heads;
pub mod kzg;
pub mod l1;
pub mod poster;
pub mod proposer;
pub mod source;
pub mod tracker;
pub mod txmgr;
