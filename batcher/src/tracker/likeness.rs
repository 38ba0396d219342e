//! Whether a block that somebody has is the one that a derived input gives, without executing it.

use executor::{BlockInput, Header, Transaction};

/// How a block compares with an input, by what everything else of a block follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likeness {
    /// It is what the input gives.
    Same,
    /// It is in the same place, without some of the input's transactions: the same where just those
    /// cannot be executed.
    Part,
    /// It is another one.
    Other,
}

impl Likeness {
    /// Of `input` and the block with this header and these transactions.
    #[must_use]
    pub fn of(input: &BlockInput, header: &Header, transactions: &[Transaction]) -> Self {
        let env = &input.env;
        let same_place = env.number == header.number
            && env.parent_hash == header.parent_hash
            && env.timestamp == header.timestamp
            && env.prevrandao == header.mix_hash;
        let mut included = transactions.iter().map(Transaction::hash).peekable();
        let mut is_all = true;
        for derived in input.transactions.iter().map(Transaction::hash) {
            is_all &= included.next_if_eq(&derived).is_some();
        }
        match (same_place && included.peek().is_none(), is_all) {
            (false, _) => Self::Other,
            (true, true) => Self::Same,
            (true, false) => Self::Part,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::primitives::{Address, B256};
    use executor::{BlockEnv, ChainRules, Deposit, RollupRules};
    use std::sync::Arc;

    fn transaction(id: u8) -> Transaction {
        Transaction::from_deposit(Deposit {
            source_hash: B256::repeat_byte(id),
            from: Address::ZERO,
            to: Address::ZERO.into(),
            mint_wei: 0,
            value: Default::default(),
            gas_limit: 1,
            input: Default::default(),
        })
    }

    fn all(ids: &[u8]) -> Vec<Transaction> {
        ids.iter().map(|id| transaction(*id)).collect()
    }

    #[test]
    fn a_block_is_the_input_or_a_part_of_it_or_another_one() {
        let rules = Arc::new(ChainRules::Rollup(RollupRules::default()));
        let parent = Header::default();
        let env = BlockEnv::rollup(&rules, (&parent, B256::repeat_byte(1)), B256::ZERO, 5);
        let input = BlockInput { rules, env, transactions: all(&[1, 2, 3, 2]) };
        let header = Header {
            number: 1,
            parent_hash: B256::repeat_byte(1),
            timestamp: 5,
            ..Header::default()
        };
        let like = |header: &Header, ids: &[u8]| Likeness::of(&input, header, &all(ids));
        assert_eq!(like(&header, &[1, 2, 3, 2]), Likeness::Same);
        for part in [&[][..], &[1], &[1, 3], &[3, 2], &[1, 2, 2]] {
            assert_eq!(like(&header, part), Likeness::Part, "{part:?}");
        }
        for other in [&[2, 1][..], &[1, 4], &[1, 2, 3, 2, 2], &[3, 3]] {
            assert_eq!(like(&header, other), Likeness::Other, "{other:?}");
        }
        for elsewhere in [
            Header { number: 2, ..header.clone() },
            Header { parent_hash: B256::ZERO, ..header.clone() },
            Header { timestamp: 6, ..header.clone() },
            Header { mix_hash: B256::repeat_byte(2), ..header },
        ] {
            assert_eq!(like(&elsewhere, &[1, 2, 3, 2]), Likeness::Other);
        }
    }
}
