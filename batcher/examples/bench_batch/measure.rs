//! One codec on one data set: round trip, size and time.

use crate::{
    codec::{Codec, Coder},
    data::DataSet,
};
use anyhow::{Context, Result, ensure};
use std::time::Instant;

/// A row of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) data: String,
    pub(crate) transactions: usize,
    pub(crate) codec: &'static str,
    pub(crate) quality: u8,
    pub(crate) bytes_per_tx: f64,
    pub(crate) tx_per_s: f64,
}

/// Encodes `rounds` times; every time must give the same bytes, and they the same transactions.
#[allow(clippy::cast_precision_loss, reason = "counts and sizes for a display")]
pub(crate) fn measure(codec: &Codec, data: &DataSet, rounds: u32) -> Result<Row> {
    let coder = codec.open(data).with_context(|| place(codec, data))?;
    let encoded = round_trip(&*coder, data).with_context(|| place(codec, data))?;
    let mut seconds = Vec::new();
    for _ in 0..rounds {
        let start = Instant::now();
        let again = coder.encode()?;
        seconds.push(start.elapsed().as_secs_f64());
        ensure!(again == encoded, "{}: not the same bytes twice", place(codec, data));
    }
    seconds.sort_by(f64::total_cmp);
    let transactions = data.transactions();
    Ok(Row {
        data: data.name.clone(),
        transactions,
        codec: codec.name,
        quality: codec.quality,
        bytes_per_tx: encoded.len() as f64 / transactions as f64,
        tx_per_s: transactions as f64 / seconds[seconds.len() / 2],
    })
}

/// The round trip alone.
pub(crate) fn check(codec: &Codec, data: &DataSet) -> Result<()> {
    let coder = codec.open(data).with_context(|| place(codec, data))?;
    round_trip(&*coder, data).map(drop).with_context(|| place(codec, data))
}

fn place(codec: &Codec, data: &DataSet) -> String {
    format!("{} at quality {} on {}", codec.name, codec.quality, data.name)
}

/// The encoded bytes, from which every block's transactions come back byte for byte.
fn round_trip(coder: &dyn Coder, data: &DataSet) -> Result<Vec<u8>> {
    let encoded = coder.encode()?;
    let decoded = coder.decode(&encoded)?;
    ensure!(decoded.len() == data.blocks.len(), "{} blocks come back", decoded.len());
    for (block, transactions) in data.blocks.iter().zip(&decoded) {
        let number = block.number;
        let (had, got) = (block.transactions.len(), transactions.len());
        ensure!(had == got, "block {number}: {got} transactions come back of {had}");
        let pairs = block.transactions.iter().zip(transactions);
        if let Some(index) = pairs.into_iter().position(|(had, got)| had != got) {
            anyhow::bail!("block {number}: transaction {index} comes back different");
        }
    }
    Ok(encoded)
}
