//! The state at the head: codes, accounts, slots, and the root over them.

use super::{
    CheckError, Checker, Problem, alone, journal::Journal, look, roots::Roots, same_hash, wrong,
};
use crate::store::{
    chain::has_code,
    kv::Access,
    tables::{Bytecodes, HashedAccounts, HashedStorages, Headers, OutputParts, Table},
};
use alloy::{
    consensus::EMPTY_ROOT_HASH,
    primitives::{B256, keccak256},
};
use contracts::L2_TO_L1_MESSAGE_PASSER;

impl<K: Access> Checker<'_, K> {
    /// Checks the state tables; gives the root over them, which is the head's.
    pub(super) fn state(&mut self) -> Result<B256, CheckError> {
        self.step::<Bytecodes>()?;
        self.visit::<Bytecodes>(|hash, code| {
            Ok(same_hash("the code's hash", hash, keccak256(&code))?)
        })?;
        self.slots_have_accounts()?;
        self.step::<HashedAccounts>()?;
        let (rows, message_passer) = (self.rows, keccak256(L2_TO_L1_MESSAGE_PASSER));
        let mut message_passer_root = EMPTY_ROOT_HASH;
        let journal = Journal::default();
        let mut roots = Roots::new(rows, &journal, 0..1);
        self.visit::<HashedAccounts>(|hash, account| {
            if has_code(&account.code_hash)
                && rows.get(Bytecodes::SPEC, account.code_hash.as_slice())?.is_none()
            {
                return Err(alone::<Bytecodes>(&account.code_hash).into());
            }
            let storage_root = roots.row(hash, account)?;
            if hash == message_passer {
                message_passer_root = storage_root;
            }
            Ok(())
        })?;
        let number = self.head.number;
        let root = roots.finish()?.first().copied().unwrap_or(EMPTY_ROOT_HASH);
        let header = self.look::<Headers>(&number)?;
        let header = header.ok_or_else(|| wrong::<Headers>(&number, Problem::Missing))?.header;
        same_hash("the state root", header.state_root, root)
            .map_err(|problem| wrong::<Headers>(&number, problem))?;
        let part = self.look::<OutputParts>(&number)?;
        let part = part.ok_or_else(|| wrong::<OutputParts>(&number, Problem::Missing))?;
        same_hash("the message passer's storage root", part, message_passer_root)
            .map_err(|problem| wrong::<OutputParts>(&number, problem))?;
        Ok(root)
    }

    /// No slot is zero, and every one belongs to an account.
    fn slots_have_accounts(&mut self) -> Result<(), CheckError> {
        self.step::<HashedStorages>()?;
        let rows = self.rows;
        let mut last = None;
        self.visit::<HashedStorages>(|(address, _), value| {
            if value.is_zero() {
                return Err(Problem::Stray("a slot of zero is not stored").into());
            }
            if last != Some(address) && look::<HashedAccounts, K>(rows, &address)?.is_none() {
                return Err(alone::<HashedAccounts>(&address).into());
            }
            last = Some(address);
            Ok(())
        })
    }
}
