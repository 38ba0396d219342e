//! What is printed: a table for people, or one JSON object a line for programs.
//!
//! With JSON, stdout has nothing but objects; what is for people goes to stderr.

use crate::{codec::REFERENCE, data::DataSet, measure::Row};
use serde_json::json;

/// Prints rows as they come, and remembers them for the comparison.
#[derive(Debug)]
pub(crate) struct Report {
    json: bool,
    notes: Vec<String>,
    rows: Vec<Row>,
}

impl Report {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, notes: Vec::new(), rows: Vec::new() }
    }

    fn text(&self, line: &str) {
        if self.json {
            eprintln!("{line}");
        } else {
            println!("{line}");
        }
    }

    /// What is in a data set, printed below the table.
    pub(crate) fn note(&mut self, data: &DataSet) {
        self.notes.push(format!(
            "{}: chain {}, {} transactions in {} blocks; left out for their blobs: {}",
            data.name,
            data.chain_id,
            data.transactions(),
            data.blocks.len(),
            data.left_out,
        ));
    }

    pub(crate) fn row(&mut self, row: Row) {
        if self.rows.is_empty() && !self.json {
            println!(
                "{:<26}{:>7}  {:<13}{:>7}{:>11}{:>12}",
                "data", "txs", "codec", "quality", "bytes/tx", "tx/s"
            );
        }
        let Row { data, transactions, codec, quality, bytes_per_tx, tx_per_s } = &row;
        if self.json {
            let object = json!({
                "data": data,
                "txs": transactions,
                "codec": codec,
                "quality": quality,
                "bytes_per_tx": bytes_per_tx,
                "tx_per_s": tx_per_s,
            });
            println!("{object}");
        } else {
            println!(
                "{data:<26}{transactions:>7}  {codec:<13}{quality:>7}{bytes_per_tx:>11.2}{tx_per_s:>12.0}"
            );
        }
        self.rows.push(row);
    }

    /// Prints, for each data set, our size relative to the reference's, then the notes.
    pub(crate) fn finish(&self) {
        self.text(&format!("\nbytes relative to {REFERENCE}"));
        for reference in self.rows.iter().filter(|row| row.codec == REFERENCE) {
            let ours = self
                .rows
                .iter()
                .filter(|row| row.data == reference.data && row.codec.starts_with("ours"));
            let relative = ours.map(|row| {
                let percent = (row.bytes_per_tx / reference.bytes_per_tx - 1.0) * 100.0;
                format!("  {} at {} {percent:+.1} %", row.codec, row.quality)
            });
            self.text(&format!("{:<26}{}", reference.data, relative.collect::<String>()));
        }
        self.text("");
        self.notes.iter().for_each(|note| self.text(note));
    }
}
