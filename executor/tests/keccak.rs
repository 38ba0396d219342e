//! Every keccak backend against the scalar one, `alloy_primitives::keccak256`.

use alloy::primitives::{B256, keccak256};
use executor::keccak::{Backend, Batch, hash_all};
use proptest::prelude::*;

/// The backends of this processor; says which it lacks.
fn backends() -> impl Iterator<Item = Backend> {
    Backend::ALL.into_iter().filter(|backend| {
        let available = backend.is_available();
        if !available {
            println!("{backend:?} is absent on this processor");
        }
        available
    })
}

fn message(length_bytes: usize, seed: usize) -> Vec<u8> {
    (0..length_bytes).map(|index| (index * 7 + seed * 31 + index * seed / 5) as u8).collect()
}

fn assert_hashes(backend: Backend, messages: &[Vec<u8>]) {
    let hashes = hash_all(backend, messages.iter().map(Vec::as_slice)).unwrap();
    let expected: Vec<B256> = messages.iter().map(keccak256).collect();
    assert_eq!(hashes, expected, "{backend:?}");
}

#[test]
fn every_length_in_every_lane() {
    for backend in backends() {
        for length_bytes in 0..=1_200 {
            for count in [1, 2, backend.lanes(), backend.lanes() + 3] {
                let messages: Vec<_> = (0..count).map(|seed| message(length_bytes, seed)).collect();
                assert_hashes(backend, &messages);
            }
        }
    }
}

#[test]
fn lengths_in_any_order() {
    for backend in backends() {
        let messages: Vec<_> =
            (0..3_000).map(|index| message(index * 7_919 % 701, index)).collect();
        assert_hashes(backend, &messages);
        assert_hashes(backend, &[]);
    }
}

#[test]
fn a_batch_is_used_again_and_again() {
    for backend in backends() {
        let mut batch = Batch::new(backend).unwrap();
        assert_eq!(batch.backend(), backend);
        for round in 0..200 {
            let messages: Vec<_> = (0..round % 23).map(|seed| message(round * 3, seed)).collect();
            let mut hashes = vec![None; messages.len()];
            let mut note = |index: usize, hash| assert!(hashes[index].replace(hash).is_none());
            for (index, message) in messages.iter().enumerate() {
                batch.push(index, message, &mut note);
            }
            batch.finish(&mut note);
            let expected: Vec<_> =
                messages.iter().map(|message| Some(keccak256(message))).collect();
            assert_eq!(hashes, expected);
        }
    }
}

#[test]
fn what_is_detected_is_available() {
    assert!(Backend::detect().is_available());
    for backend in Backend::ALL {
        assert_eq!(Batch::<()>::new(backend).is_some(), backend.is_available());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn random_batches(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..900), 0..40),
    ) {
        for backend in backends() {
            assert_hashes(backend, &messages);
        }
    }
}
