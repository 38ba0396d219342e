//! What executing blocks has taught about transactions to come: per code and selector, which keys
//! they touch, as functions of sender and arguments, and how much time they take.
//!
//! Only a hint: wrong, missing or hostile knowledge costs time, never correctness. Bounded: a
//! template holds at most [`TEMPLATE_KEYS_MAX`] keys, and there are at most [`TEMPLATES_MAX`]
//! templates; when a new one finds no room, the half that was used the longest ago goes.

mod template;
#[cfg(test)]
mod tests;

pub(crate) use template::{Call, Observation, PredictedKey, Template};

use alloc::sync::Arc;
use alloy_primitives::{Address, B256, map::HashMap};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Templates kept. At a few hundred bytes each they take a few megabytes; a busy chain calls a few
/// thousand different functions in a day.
pub const TEMPLATES_MAX: usize = 8_192;

/// Keys in one template. A transaction that touches more is predicted by its first ones.
pub const TEMPLATE_KEYS_MAX: usize = 96;

/// Observations of one contract that teach about its code.
const CODE_LESSONS: u32 = 2;

/// What identifies a template: who is called, and the first four bytes of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Function {
    callee: Callee,
    selector: [u8; 4],
}

/// Contracts of the same code touch the same slots of themselves, but other contracts each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Callee {
    Contract(Address),
    Code(B256),
}

impl Function {
    /// The function of one contract.
    pub(crate) fn of_contract(to: Address, selector: [u8; 4]) -> Self {
        Self { callee: Callee::Contract(to), selector }
    }

    /// The function of all contracts with this code.
    pub(crate) fn of_code(code_hash: B256, selector: [u8; 4]) -> Self {
        Self { callee: Callee::Code(code_hash), selector }
    }
}

#[derive(Clone, Debug, Default)]
struct Book {
    templates: HashMap<Function, Entry>,
    /// Counts uses, to find what was not used for long.
    clock: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    template: Arc<Template>,
    used_at: u64,
}

/// Knowledge shared by the blocks of one chain. Cloning copies it.
#[derive(Debug, Default)]
pub struct Knowledge {
    book: Mutex<Book>,
}

impl Clone for Knowledge {
    fn clone(&self) -> Self {
        Self { book: Mutex::new(self.book().clone()) }
    }
}

impl Knowledge {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Functions known.
    #[must_use]
    pub fn functions(&self) -> usize {
        self.book().templates.len()
    }

    /// The template of a function.
    pub(crate) fn template(&self, function: &Function) -> Option<Arc<Template>> {
        let mut book = self.book();
        book.clock += 1;
        let now = book.clock;
        let entry = book.templates.get_mut(function)?;
        entry.used_at = now;
        Some(entry.template.clone())
    }

    /// Learns from one transaction: about its contract, and from the first calls of a contract about
    /// all of that code. One alone would not do: it takes the time of a first call.
    pub(crate) fn learn(
        &self,
        functions: (Function, Function),
        call: &Call<'_>,
        observation: &Observation<'_>,
    ) {
        let (of_contract, of_code) = functions;
        if self.learn_one(of_contract, call, observation) {
            self.learn_one(of_code, call, observation);
        }
    }

    /// Whether it was one of the first observations.
    fn learn_one(
        &self,
        function: Function,
        call: &Call<'_>,
        observation: &Observation<'_>,
    ) -> bool {
        let mut book = self.book();
        book.clock += 1;
        let now = book.clock;
        if book.templates.len() >= TEMPLATES_MAX && !book.templates.contains_key(&function) {
            let middle = median_use(&book);
            book.templates.retain(|_, entry| entry.used_at > middle);
        }
        let entry = book
            .templates
            .entry(function)
            .or_insert_with(|| Entry { template: Arc::default(), used_at: now });
        entry.used_at = now;
        let template = Arc::make_mut(&mut entry.template);
        template.learn(call, observation);
        template.observations() <= CODE_LESSONS
    }

    /// Remembers how speculating on a function went.
    pub(crate) fn judge(&self, function: &Function, accepted: u32, rejected: u32) {
        if let Some(entry) = self.book().templates.get_mut(function) {
            Arc::make_mut(&mut entry.template).judge(accepted, rejected);
        }
    }
}

fn median_use(book: &Book) -> u64 {
    let mut uses: std::vec::Vec<u64> = book.templates.values().map(|entry| entry.used_at).collect();
    let middle = uses.len() / 2;
    *uses.select_nth_unstable(middle).1
}
