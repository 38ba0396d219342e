//! Journal memory between blocks. A block of many accounts fills megabytes; taking them from the
//! operating system and giving them back for every block costs a tenth of executing it.

use revm::state::EvmState;

use std::sync::{Mutex, PoisonError};
use std::vec::Vec;

/// Journals kept; one for each lane of a block or two. More are dropped.
const SPARES_MAX: usize = 32;

/// Accounts that a kept journal has room for at most, about 60 MB. A larger one is dropped.
const ACCOUNTS_MAX: usize = 1 << 18;

static SPARES: Mutex<Vec<EvmState>> = Mutex::new(Vec::new());

/// Clearing more accounts than this takes long enough to be done by another thread.
const ACCOUNTS_LARGE: usize = 1_024;

/// An empty state, with memory if there is some.
pub(super) fn take() -> EvmState {
    if let Some(spare) = SPARES.lock().unwrap_or_else(PoisonError::into_inner).pop() {
        return spare;
    }
    EvmState::default()
}

/// Keeps the memory of a state that is not needed any more.
pub(super) fn give_back(state: EvmState) {
    if (1..=ACCOUNTS_MAX).contains(&state.capacity()) {
        let state_is_large = state.len() > ACCOUNTS_LARGE;
        let mut state = state;
        let mut keep = move || {
            state.clear();
            let mut spares = SPARES.lock().unwrap_or_else(PoisonError::into_inner);
            if spares.len() < SPARES_MAX {
                spares.push(core::mem::take(&mut state));
            }
        };
        if state_is_large {
            crate::parallel::threads::later(keep);
        } else {
            keep();
        }
    }
}
