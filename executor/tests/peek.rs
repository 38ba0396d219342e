//! What is seen of the state between two transactions is what the block then has.

use crate::{
    modes::MODES,
    support::{Chain, genesis, request, sign, signer},
};
use alloy::primitives::{Address, Bytes, TxKind, U256, bytes};
use executor::{BlockInput, Execution, Options, StateView, genesis::GenesisAccount};
use std::collections::BTreeMap;

/// Stores its call data's first word in slot 1.
const STORE: Bytes = bytes!("5f3560015500");
const AT: Address = Address::repeat_byte(0xaa);
const OTHER: Address = Address::repeat_byte(0xab);

#[test]
fn a_slot_between_two_transactions_is_as_the_first_left_it() {
    let ether = U256::from(10_u128.pow(18));
    let rich = GenesisAccount { balance: ether, ..GenesisAccount::default() };
    let holder = GenesisAccount {
        nonce: 1,
        code: STORE,
        storage: BTreeMap::from([(U256::ZERO, U256::from(5)), (U256::ONE, U256::from(6))]),
        ..GenesisAccount::default()
    };
    let genesis = genesis([(signer(0).address(), rich), (AT, holder.clone()), (OTHER, holder)]);
    let chain = Chain::from_genesis(&genesis);
    let word = |value: u64| Bytes::from(U256::from(value).to_be_bytes_vec());
    let store = |nonce, value| {
        let call = request(nonce, TxKind::Call(AT), U256::ZERO, 100_000, word(value));
        sign(call, &signer(0))
    };
    let BlockInput { rules, env, transactions } = chain.input(vec![], &[]);
    for mode in MODES {
        let options = Options { mode, ..Options::default() };
        let mut execution =
            Execution::begin(&chain.state, rules.clone(), env.clone(), options).unwrap();
        execution.extend(&transactions).unwrap();
        assert_eq!(execution.slot(AT, U256::ONE).unwrap(), U256::from(6), "{mode:?}");
        assert!(!execution.is_storage_changed(AT).unwrap());
        for (nonce, value) in [(0, 9), (1, 0), (2, 6), (3, 7)] {
            execution.extend(&[store(nonce, value)]).unwrap();
            assert_eq!(execution.slot(AT, U256::ONE).unwrap(), U256::from(value), "{mode:?}");
            assert_eq!(execution.slot(AT, U256::ZERO).unwrap(), U256::from(5));
            assert_eq!(execution.is_storage_changed(AT).unwrap(), value != 6, "{mode:?} {value}");
            assert!(!execution.is_storage_changed(OTHER).unwrap());
        }
        let block = execution.seal().unwrap();
        let slots = &block.diff.accounts[&AT].slots;
        assert_eq!(slots[&U256::ONE].after, U256::from(7));
        assert_eq!(chain.state.slot(AT, U256::ONE).unwrap(), U256::from(6));
        assert!(!block.diff.accounts.contains_key(&OTHER), "looking touches nothing");
    }
}
