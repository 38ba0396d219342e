//! Tables of what was said before: addresses, selectors, words. What is in one is named by its place.
//!
//! A channel begins with empty tables, or with those that the accepted channel before it left
//! ([`History`]). Both sides fill them alike. Owns places, bounds and what is carried over; knows no
//! transaction.

use super::{
    Malformed,
    columns::{Column, Columns, Cursors},
};
use alloy::primitives::{Address, B64, Keccak256};
use std::{
    cmp::Ordering,
    collections::HashMap,
    sync::{Arc, OnceLock},
};

/// Places of a table: what a low and a high byte can name, less the code for "new". A full table stays
/// as it is, and what is new is said in full each time.
const PLACES_MAX: usize = 0xffff;
/// Entries that a table carries over to the next channel: those used last. Half of all places, so
/// that the next channel has room for what is new in it.
const CARRIED_MAX: usize = 0x7fff;

/// What has a place, and when it was last used.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry<const N: usize> {
    value: [u8; N],
    /// Number of the channel in which it was said last.
    channel: u32,
}

/// A table.
#[derive(Clone, Debug, Default)]
pub(super) struct Table<const N: usize> {
    entries: Vec<Entry<N>>,
    /// Places by value; kept by whoever writes.
    places: HashMap<[u8; N], usize>,
    channel: u32,
}

impl<const N: usize> Table<N> {
    fn continuing(carried: &[Entry<N>], channel: u32, writes: bool) -> Self {
        let entries = carried.to_vec();
        let places = entries.iter().enumerate().map(|(place, entry)| (entry.value, place));
        let places = if writes { places.collect() } else { HashMap::new() };
        Self { entries, places, channel }
    }

    /// The place of a value; it was said again.
    pub(super) fn find(&mut self, value: &[u8; N]) -> Option<usize> {
        let place = *self.places.get(value)?;
        self.touch(place);
        Some(place)
    }

    fn touch(&mut self, place: usize) {
        if let Some(entry) = self.entries.get_mut(place) {
            entry.channel = self.channel;
        }
    }

    /// What is in a place; it was said again.
    pub(super) fn get(&mut self, place: usize) -> Result<[u8; N], Malformed> {
        let value = self.entries.get(place).ok_or(Malformed::Place)?.value;
        self.touch(place);
        Ok(value)
    }

    /// Gives a value that was read the next place, if there is one.
    pub(super) fn learn(&mut self, value: [u8; N]) {
        if self.entries.len() < PLACES_MAX {
            self.entries.push(Entry { value, channel: self.channel });
        }
    }

    /// Gives a value that was written the next place, if there is one.
    pub(super) fn add(&mut self, value: [u8; N]) {
        if self.entries.len() < PLACES_MAX {
            self.places.insert(value, self.entries.len());
        }
        self.learn(value);
    }

    /// Says a value: its place and one, or zero and the value itself.
    pub(super) fn put(&mut self, columns: &mut Columns, to: [Column; 3], value: [u8; N]) {
        let [low, high, new] = to;
        match self.find(&value) {
            Some(place) => put_place(columns, [low, high], place + 1),
            None => {
                put_place(columns, [low, high], 0);
                columns.bytes(new, &value);
                self.add(value);
            }
        }
    }

    /// Reads what [`Self::put`] wrote.
    pub(super) fn read(
        &mut self,
        cursors: &mut Cursors<'_>,
        from: [Column; 3],
    ) -> Result<[u8; N], Malformed> {
        let [low, high, new] = from;
        match get_place(cursors, [low, high])?.checked_sub(1) {
            Some(place) => self.get(place),
            None => {
                let value = cursors.array(new)?;
                self.learn(value);
                Ok(value)
            }
        }
    }

    /// What the next channel begins with.
    fn carried(mut self) -> Vec<Entry<N>> {
        if let Some(over) = self.entries.len().checked_sub(CARRIED_MAX + 1) {
            let mut ages: Vec<u32> = self.entries.iter().map(|entry| entry.channel).collect();
            ages.sort_unstable();
            let youngest = ages[over];
            let mut of_its_age = over + 1 - ages.partition_point(|age| *age < youngest);
            // Those of the same age go in the order of their places.
            self.entries.retain(|entry| match entry.channel.cmp(&youngest) {
                Ordering::Less => false,
                Ordering::Equal => {
                    of_its_age.checked_sub(1).map(|left| of_its_age = left).is_none()
                }
                Ordering::Greater => true,
            });
        }
        self.entries
    }
}

/// Writes a place: its low byte and its high byte apart, because the high ones are alike.
pub(super) fn put_place(columns: &mut Columns, [low, high]: [Column; 2], place: usize) {
    let [low_byte, high_byte, ..] = place.to_le_bytes();
    columns.byte(low, low_byte);
    columns.byte(high, high_byte);
}

/// Reads a place.
pub(super) fn get_place(
    cursors: &mut Cursors<'_>,
    [low, high]: [Column; 2],
) -> Result<usize, Malformed> {
    Ok(usize::from(u16::from_le_bytes([cursors.byte(low)?, cursors.byte(high)?])))
}

/// The tables of one channel.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables {
    pub(super) addresses: Table<20>,
    pub(super) selectors: Table<4>,
    pub(super) words: Table<32>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Carried {
    channels: u32,
    addresses: Vec<Entry<20>>,
    selectors: Vec<Entry<4>>,
    words: Vec<Entry<32>>,
}

impl Carried {
    fn digest(&self) -> B64 {
        if self.channels == 0 {
            return B64::ZERO;
        }
        let mut hasher = Keccak256::new();
        hasher.update(self.channels.to_be_bytes());
        digest_table(&mut hasher, &self.addresses);
        digest_table(&mut hasher, &self.selectors);
        digest_table(&mut hasher, &self.words);
        B64::from_slice(&hasher.finalize()[..8])
    }
}

/// What a channel may take as said already: the tables that accepted channels left, as long as each
/// continued the one before. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub struct History {
    carried: Arc<Carried>,
    /// Computed when it is first asked for.
    digest: Arc<OnceLock<B64>>,
}

impl PartialEq for History {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.carried, &other.carried) || self.carried == other.carried
    }
}

impl Eq for History {}

impl From<Carried> for History {
    fn from(carried: Carried) -> Self {
        Self { carried: Arc::new(carried), digest: Arc::default() }
    }
}

impl History {
    /// Whether nothing was said yet: a channel that begins with this is *fresh*.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.carried.channels == 0
    }

    /// Channels since the last fresh one, that included.
    #[must_use]
    pub fn channels(&self) -> u32 {
        self.carried.channels
    }

    /// First bytes of the keccak-256 of all entries: two histories with the same are the same. Zeros
    /// when nothing was said yet.
    #[must_use]
    pub fn digest(&self) -> B64 {
        *self.digest.get_or_init(|| self.carried.digest())
    }

    /// With the senders of the channel that left this, in the order of its transactions. They are not in
    /// its bytes, but whoever executes it knows them, and who has sent is likely to receive.
    #[must_use]
    pub fn with_senders(&self, senders: impl IntoIterator<Item = Address>) -> Self {
        let Carried { channels, addresses, selectors, words } = &*self.carried;
        let mut table = Table::continuing(addresses, *channels, true);
        for sender in senders {
            if table.find(&sender.0).is_none() {
                table.add(sender.into_array());
            }
        }
        Self::from(Carried {
            channels: *channels,
            addresses: table.carried(),
            selectors: selectors.clone(),
            words: words.clone(),
        })
    }

    /// The tables of a channel that continues this.
    pub(super) fn tables(&self, writes: bool) -> Tables {
        let channel = self.carried.channels.saturating_add(1);
        Tables {
            addresses: Table::continuing(&self.carried.addresses, channel, writes),
            selectors: Table::continuing(&self.carried.selectors, channel, writes),
            words: Table::continuing(&self.carried.words, channel, writes),
        }
    }

    /// What a channel leaves, by its tables at its end.
    pub(super) fn after(tables: Tables) -> Self {
        let channels = tables.addresses.channel;
        Self::from(Carried {
            channels,
            addresses: tables.addresses.carried(),
            selectors: tables.selectors.carried(),
            words: tables.words.carried(),
        })
    }
}

fn digest_table<const N: usize>(hasher: &mut Keccak256, entries: &[Entry<N>]) {
    hasher.update((entries.len() as u64).to_be_bytes());
    for entry in entries {
        hasher.update(entry.value);
        hasher.update(entry.channel.to_be_bytes());
    }
}
