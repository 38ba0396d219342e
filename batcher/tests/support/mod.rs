//! What the tests share: an L2 chain that is really executed, and an L1 to post to.

pub(crate) mod anvil;
pub(crate) mod bent;
pub(crate) mod chain;
pub(crate) mod world;
