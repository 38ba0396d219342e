//! What is learned predicts, has a bound, and does not mind what it is told.

use super::{Call, Function, Knowledge, Observation, TEMPLATE_KEYS_MAX, TEMPLATES_MAX, Template};
use crate::{
    parallel::Forecast,
    transaction::{SignedTransaction, Transaction},
};
use alloc::{collections::BTreeSet, vec, vec::Vec};
use alloy_consensus::{SignableTransaction, TxLegacy};
use alloy_primitives::{Address, B256, Signature, U256, keccak256, map::DefaultHashBuilder};

/// Two words, and their hash.
type Hash = (B256, B256, B256);

const SELECTOR: [u8; 4] = [1, 2, 3, 4];
const CODE: B256 = B256::repeat_byte(0xcc);
const TOKEN: u64 = 0xaaaa;
const OTHER_TOKEN: u64 = 0xbbbb;
/// A contract that the token asks.
const REGISTRY: u64 = 0xdddd;

fn account(index: u64) -> Address {
    Address::from_word(keccak256(index.to_be_bytes()))
}

fn functions(contract: u64) -> (Function, Function) {
    (Function::of_contract(account(contract), SELECTOR), Function::of_code(CODE, SELECTOR))
}

fn hashed(first: B256, second: B256) -> Hash {
    (first, second, keccak256([first, second].concat()))
}

fn position(number: u64) -> B256 {
    U256::from(number).into()
}

/// A transfer of a token by one account to another, with what it touches: the balances at position
/// 3, and a field of a struct under the sender and the recipient at position 5.
struct Transfer {
    token: u64,
    from: u64,
    input: Vec<u8>,
    slots: Vec<(Address, U256, bool)>,
    hashes: Vec<Hash>,
}

impl Transfer {
    fn new(token: u64, from: u64, to: u64) -> Self {
        let (sender, recipient) = (account(from).into_word(), account(to).into_word());
        let outer = hashed(sender, position(5));
        let hashes = vec![
            hashed(sender, position(3)),
            hashed(recipient, position(3)),
            outer,
            hashed(recipient, outer.2),
        ];
        let slot = |hash: &Hash, offset: u64| U256::from_be_bytes(hash.2.0) + U256::from(offset);
        let slots = vec![
            (account(token), slot(&hashes[0], 0), true),
            (account(token), slot(&hashes[1], 0), true),
            (account(token), slot(&hashes[3], 2), false),
            (account(REGISTRY), U256::from(9), false),
        ];
        let input = [&SELECTOR[..], &recipient[..], &position(1)[..]].concat();
        Self { token, from, input, slots, hashes }
    }

    fn call(&self) -> Call<'_> {
        Call { sender: account(self.from), to: account(self.token), input: &self.input }
    }

    fn teach(&self, knowledge: &Knowledge, gas_used: u64) {
        let observation =
            Observation { slots: &self.slots, hashes: &self.hashes, gas_used, time_ns: gas_used };
        knowledge.learn(functions(self.token), &self.call(), &observation);
    }

    /// A template that knows this transfer alone.
    fn template(&self) -> Template {
        let knowledge = Knowledge::default();
        self.teach(&knowledge, 50_000);
        let template = knowledge.template(&functions(self.token).0);
        Template::clone(&template.unwrap())
    }
}

fn names(
    template: &Template,
    call: &Call<'_>,
    is_foreign: bool,
    hasher: &DefaultHashBuilder,
) -> BTreeSet<u64> {
    template.predict(call, is_foreign, hasher).map(|key| key.name).collect()
}

#[test]
fn a_mapping_is_predicted_for_callers_that_were_never_seen() {
    let hasher = DefaultHashBuilder::default();
    let seen = Transfer::new(TOKEN, 1, 2).template();
    let predicted = |from, to| {
        let transfer = Transfer::new(TOKEN, from, to);
        let predicted = names(&seen, &transfer.call(), false, &hasher);
        // The same keys under the same names as if nothing but this transfer were known.
        assert_eq!(predicted, names(&transfer.template(), &transfer.call(), false, &hasher));
        predicted
    };
    let shared = |a: &BTreeSet<u64>, b: &BTreeSet<u64>| a.intersection(b).count();
    let first = predicted(5, 6);
    assert_eq!(first.len(), 4, "two balances, a field of a struct, the registry");
    assert_eq!(shared(&first, &predicted(6, 7)), 2, "the balance of 6, the registry");
    assert_eq!(shared(&first, &predicted(6, 5)), 3, "both balances, the registry");
    assert_eq!(shared(&first, &predicted(8, 9)), 1, "the registry");
    let next = Transfer::new(TOKEN, 5, 6);
    let written = seen.predict(&next.call(), false, &hasher).filter(|key| key.is_written).count();
    assert_eq!(written, 2, "the balances");
}

#[test]
fn what_the_code_is_known_to_do_is_said_of_another_contract_with_it() {
    let hasher = DefaultHashBuilder::default();
    let knowledge = Knowledge::default();
    Transfer::new(TOKEN, 1, 2).teach(&knowledge, 50_000);
    assert!(knowledge.template(&functions(OTHER_TOKEN).0).is_none());
    let of_code = knowledge.template(&functions(OTHER_TOKEN).1).unwrap();
    let transfer = Transfer::new(OTHER_TOKEN, 5, 6);
    let own = names(&transfer.template(), &transfer.call(), false, &hasher);
    let foreign = names(&of_code, &transfer.call(), true, &hasher);
    assert!(foreign.is_subset(&own), "its own slots, not those of the first contract");
    assert_eq!(foreign.len(), 3, "all but the registry, which may be another");
}

fn forecast_ns(knowledge: &Knowledge, transfer: &Transfer) -> u64 {
    let request = TxLegacy {
        gas_limit: 200_000,
        to: account(transfer.token).into(),
        input: transfer.input.clone().into(),
        ..TxLegacy::default()
    };
    let signed = request.into_signed(Signature::new(U256::ONE, U256::ONE, false));
    let signed = SignedTransaction::Legacy(signed);
    let transaction = Transaction::from_signed(signed, account(transfer.from));
    Forecast::new(&[transaction], knowledge, |_| Some(CODE)).time_ns()
}

#[test]
fn what_a_contract_does_counts_more_than_what_its_code_does_elsewhere() {
    let knowledge = Knowledge::default();
    let [dear, cheap, unknown] = [TOKEN, OTHER_TOKEN, 0xeeee].map(|to| Transfer::new(to, 5, 6));
    let before_ns = forecast_ns(&knowledge, &unknown);
    dear.teach(&knowledge, 20_000);
    cheap.teach(&knowledge, 5_000);
    let forecast = |transfer| forecast_ns(&knowledge, transfer);
    assert_eq!(forecast(&dear), 20_000);
    assert_eq!(forecast(&cheap), 5_000);
    assert_eq!(forecast(&unknown), 5_000, "nothing held that one up");
    assert!(forecast(&dear) < before_ns);
}

#[test]
fn a_long_time_is_believed_slowly_and_never_a_time_out_of_all_proportion() {
    let knowledge = Knowledge::default();
    let transfer = Transfer::new(TOKEN, 5, 6);
    let call = transfer.call();
    let time_ns = |time_ns: u64| {
        let observation = Observation { slots: &[], hashes: &[], gas_used: 30_000, time_ns };
        knowledge.learn(functions(TOKEN), &call, &observation);
        knowledge.template(&functions(TOKEN).0).unwrap().time_ns()
    };
    assert_eq!(time_ns(u64::MAX), 40_000);
    assert_eq!(time_ns(8_000), 8_000);
    assert_eq!(time_ns(u64::MAX), 9_000);
}

#[test]
fn there_are_never_more_templates_than_the_bound() {
    let knowledge = Knowledge::default();
    let kept = Function::of_contract(account(0), SELECTOR);
    let function = |index: u64| {
        let code = Function::of_code(keccak256(index.to_be_bytes()), SELECTOR);
        (Function::of_contract(account(index), SELECTOR), code)
    };
    let call = Call { sender: account(1), to: account(2), input: &[] };
    let nothing = Observation { slots: &[], hashes: &[], gas_used: 30_000, time_ns: 30_000 };
    let count = TEMPLATES_MAX as u64 + 100;
    for index in 0..count {
        knowledge.learn(function(index), &call, &nothing);
        assert!(knowledge.functions() <= TEMPLATES_MAX);
        assert!(knowledge.template(&kept).is_some(), "used all the time");
    }
    assert!(knowledge.functions() >= TEMPLATES_MAX / 2);
    assert!(knowledge.template(&function(1).0).is_none(), "used the longest ago");
    assert!(knowledge.template(&function(count - 1).0).is_some());
}

#[test]
fn a_template_never_has_more_keys_than_the_bound_and_learns_anew() {
    let hasher = DefaultHashBuilder::default();
    let knowledge = Knowledge::default();
    let call = Call { sender: account(1), to: account(TOKEN), input: &SELECTOR };
    let teach = |slots: &[(Address, U256, bool)]| {
        let observation =
            Observation { slots, hashes: &[], gas_used: 1_000_000, time_ns: 1_000_000 };
        knowledge.learn(functions(TOKEN), &call, &observation);
        let template = knowledge.template(&functions(TOKEN).0).unwrap();
        names(&template, &call, false, &hasher)
    };
    let slot = |number: u64| (account(TOKEN), U256::from(number), true);
    let many = 10 * TEMPLATE_KEYS_MAX as u64;
    for round in 0..40 {
        let slots: Vec<_> = (0..many).map(|index| slot(round * many + index)).collect();
        let predicted = teach(&slots).len();
        assert!(predicted <= TEMPLATE_KEYS_MAX);
        assert!(round > 0 || predicted == TEMPLATE_KEYS_MAX, "the first ones");
    }
    (0..64).for_each(|_| drop(teach(&[slot(7)])));
    assert_eq!(teach(&[slot(7)]), names(&template_of(&[slot(7)], &call), &call, false, &hasher));
}

fn template_of(slots: &[(Address, U256, bool)], call: &Call<'_>) -> Template {
    let mut template = Template::default();
    template.learn(call, &Observation { slots, hashes: &[], gas_used: 1, time_ns: 1 });
    template
}

/// Words that nobody means anything by, and some that would send a careless reader in circles.
fn garbage(seed: u64) -> (Vec<(Address, U256, bool)>, Vec<Hash>) {
    let word = |index: u64| keccak256([seed.to_be_bytes(), index.to_be_bytes()].concat());
    let number = |word: B256| U256::from_be_bytes(word.0);
    let itself = word(0);
    let mut hashes = vec![(itself, itself, itself); 64];
    hashes.extend((1..60).map(|index| (word(index), word(index + 1), word(index + 2))));
    hashes.extend([
        (B256::ZERO, B256::ZERO, B256::ZERO),
        (B256::ZERO, itself, B256::repeat_byte(255)),
    ]);
    let last = number(hashes[70].2);
    let slots = [
        number(itself),
        number(itself).wrapping_sub(U256::ONE),
        last.wrapping_add(U256::from(255)),
        last.wrapping_add(U256::from(256)),
        U256::MAX,
        U256::ZERO,
        U256::MAX >> 64,
    ];
    let slots = slots.map(|slot| (account(TOKEN), slot, true)).into_iter();
    (
        slots.chain((1..80).map(|index| (account(index), number(word(index)), false))).collect(),
        hashes,
    )
}

#[test]
fn hashes_that_make_no_sense_break_nothing() {
    let hasher = DefaultHashBuilder::default();
    let knowledge = Knowledge::default();
    let inputs = [0, 1, 3, 4, 5, 36, 67, 4 + 32 * 40].map(|length| vec![0xab; length]);
    for (seed, input) in (0..40u64).zip(inputs.iter().cycle()) {
        let (slots, hashes) = garbage(seed);
        let call = Call { sender: account(seed), to: account(TOKEN), input };
        let observation = Observation {
            slots: &slots,
            hashes: &hashes,
            gas_used: seed << 30,
            time_ns: seed << 30,
        };
        knowledge.learn(functions(TOKEN), &call, &observation);
        let template = knowledge.template(&functions(TOKEN).0).unwrap();
        for input in &inputs {
            let call = Call { sender: account(9), to: account(TOKEN), input };
            assert!(names(&template, &call, false, &hasher).len() <= TEMPLATE_KEYS_MAX);
        }
    }
}

#[test]
fn hashes_that_make_no_sense_hide_none_that_do() {
    let hasher = DefaultHashBuilder::default();
    let expected = Transfer::new(TOKEN, 1, 2).template();
    let mut drowned = Transfer::new(TOKEN, 1, 2);
    drowned.hashes.splice(0..0, garbage(1).1);
    let next = Transfer::new(TOKEN, 5, 6);
    let names = |template| names(template, &next.call(), false, &hasher);
    assert_eq!(names(&drowned.template()), names(&expected));
}

#[test]
fn a_function_that_was_hopeless_is_tried_again() {
    let knowledge = Knowledge::default();
    let transfer = Transfer::new(TOKEN, 1, 2);
    let function = functions(TOKEN).0;
    let is_hopeless = || knowledge.template(&function).unwrap().is_hopeless();
    transfer.teach(&knowledge, 50_000);
    knowledge.judge(&function, 10, 9);
    assert!(!is_hopeless(), "most were of use");
    knowledge.judge(&function, 0, 100);
    assert!(is_hopeless());
    (0..16).for_each(|_| transfer.teach(&knowledge, 50_000));
    assert!(!is_hopeless(), "what nobody tries is never judged again");
}
