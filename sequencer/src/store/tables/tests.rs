//! The tables' bytes: sizes, order, and reading back.

use super::*;
use proptest::prelude::*;

fn round_trip<V: Value + PartialEq + std::fmt::Debug>(value: &V) {
    assert_eq!(V::from_value(&value.to_value()).as_ref(), Some(value));
}

#[test]
fn every_table_is_at_its_index_and_its_keys_fit_the_engine() {
    for (index, table) in TABLES.iter().enumerate() {
        assert_eq!(table.index, index, "{}", table.name);
        assert!(table.key_bytes <= 60 + 4, "{}", table.name);
    }
    assert_eq!(TABLES.len(), 15);
}

/// Every table takes keys of one size and values up to its bound, in both directions.
#[test]
fn no_table_takes_or_gives_a_key_or_a_value_of_another_size() {
    fn check<T: Table>(writer: &KvWriter) {
        let TableSpec { name, key_bytes, value_bytes_max, .. } = T::SPEC;
        for size in [0, key_bytes - 1, key_bytes + 1, 4096] {
            let key = vec![1; size];
            let put = writer.put(T::SPEC, &key, &[]);
            assert!(matches!(put, Err(KvError::KeySize { .. })), "{name} put {size}");
            let get = writer.get(T::SPEC, &key);
            assert!(matches!(get, Err(KvError::KeySize { .. })), "{name} get {size}");
            assert!(T::Key::read(&key).is_none(), "{name} reads a key of {size}");
        }
        let (key, long) = (vec![1; key_bytes], vec![1; value_bytes_max + 1]);
        let put = writer.put(T::SPEC, &key, &long);
        assert!(matches!(put, Err(KvError::ValueSize { .. })), "{name} put");
        assert!(decode_value::<T>(&long).is_err(), "{name} reads a value that is too long");
    }
    let directory = tempfile::tempdir().unwrap();
    let kv = crate::store::kv::Kv::open(directory.path(), TABLES).unwrap();
    let writer = kv.writer().unwrap();
    macro_rules! check_all {
        ($($table:ident)*) => {
            assert_eq!([$($table::SPEC.name),*].len(), TABLES.len(), "every table is here");
            $(check::<$table>(&writer);)*
        };
    }
    check_all! {
        Meta HashedAccounts HashedStorages Bytecodes AccountChangeSets StorageChangeSets
        AccountsHistory StoragesHistory Headers HeaderNumbers BlockBodies Receipts
        TransactionHashNumbers OutputParts OutputProofs
    }
}

#[test]
fn meta_names_differ_and_read_back() {
    for key in MetaKey::ALL {
        assert_eq!(MetaKey::read(&key.to_key()), Some(key));
    }
}

#[test]
fn foreign_bytes_are_refused() {
    assert_eq!(U256::from_value(&[0, 1]), None);
    assert_eq!(U256::from_value(&[1; 33]), None);
    assert_eq!(Account::from_value(&[0; 8]), None);
    assert_eq!(Account::from_value(&[0, 0, 0, 0, 0, 0, 0, 0, 2]), None);
    assert_eq!(<(u64, Address)>::read(&[0; 27]), None);
    assert!(Transaction::from_value(&[0; 21]).is_none());
}

proptest! {
    #[test]
    fn values_read_back(nonce: u64, balance: [u8; 32], hash: [u8; 32], has_code: bool) {
        let balance_wei = U256::from_be_bytes(balance);
        let code_hash = if has_code { B256::from(hash) } else { KECCAK256_EMPTY };
        round_trip(&balance_wei);
        round_trip(&(balance_wei >> 200));
        round_trip(&Account { nonce, balance_wei, code_hash });
        round_trip(&Some(Account { nonce, balance_wei: U256::ZERO, code_hash }));
        round_trip(&None::<Account>);
        let account = Account { nonce, balance_wei, code_hash };
        let nodes = vec![Bytes::from(vec![nonce.to_be_bytes()[0]; 532]), Bytes::new()];
        round_trip(&OutputProof { account, nodes });
    }

    #[test]
    fn key_order_is_value_order(a: (u64, [u8; 20]), b: (u64, [u8; 20])) {
        let (a, b) = ((a.0, Address::from(a.1)), (b.0, Address::from(b.1)));
        prop_assert_eq!(a.cmp(&b), a.to_key().cmp(&b.to_key()));
        prop_assert_eq!(<(u64, Address)>::read(&a.to_key()), Some(a));
    }
}
