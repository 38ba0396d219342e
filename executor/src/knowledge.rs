//! What executing blocks has taught about transactions to come. Only a hint: wrong or missing
//! knowledge costs time, never correctness.

/// Knowledge shared by the blocks of one chain.
#[derive(Clone, Debug, Default)]
pub struct Knowledge {}
