//! What is printed: a table for people, or one JSON object a line for programs.
//!
//! Owns the shapes of both. In JSON mode stdout has nothing but objects; notes and summary, which
//! are for people, go to stderr.

use crate::{
    bound::{Bounds, CORES},
    measure::{Measured, PhasesMs, Row, Workers},
    options::{Options, cores},
    summary,
};
use serde_json::{Value, json};

/// Prints as results come in, and remembers them for the summary.
pub(crate) struct Report {
    json: bool,
    profile: bool,
    measured: Vec<Measured>,
    bounds: Vec<Bounds>,
}

impl Report {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            json: options.json,
            profile: options.profile,
            measured: Vec::new(),
            bounds: Vec::new(),
        }
    }

    fn text(&self, line: &str) {
        if self.json {
            eprintln!("{line}");
        } else {
            println!("{line}");
        }
    }

    /// What a reader must know to judge the figures.
    pub(crate) fn notes(&self, options: &Options) {
        self.text(&format!("machine: {} cores, {}", cores(), cpu_name()));
        self.text("allocator: mimalloc, in every mode");
        self.text(
            "sequential: one reused stock revm, flat maps, commit per transaction, no database",
        );
        self.text("time: planning, transactions, state diff; no state root, no receipts root");
        let rounds = options.rounds.map_or_else(
            || format!("at least {}, then {:?} a workload", options.rounds_min, options.budget),
            |exact| exact.to_string(),
        );
        self.text(&format!("rounds: {rounds}, interleaved; ratio: median of the rounds' ratios\n"));
    }

    /// Prints a workload's rows.
    pub(crate) fn rows(&mut self, measured: &Measured) {
        if self.json {
            measured.rows.iter().for_each(|row| println!("{}", row_json(measured, row)));
        } else {
            println!("{}", header(measured));
            if self.profile {
                println!("{}", phases_line(&measured.sequential_phases));
                if let Some(ceiling) = measured.ceiling {
                    println!("       ceiling of two cores {ceiling:.3}");
                }
            }
            for row in &measured.rows {
                println!("{}", row_line(measured, row));
                if self.profile {
                    println!("{}", phases_line(&row.phases));
                }
            }
        }
        self.measured.push(measured.clone());
    }

    /// Prints a workload's bounds; as text only at the end, as a table.
    pub(crate) fn bounds(&mut self, bounds: &Bounds) {
        if self.json {
            for (cores, bound) in CORES.iter().zip(bounds.of_cores) {
                let object =
                    json!({ "workload": bounds.name, "bound_workers": cores, "bound": bound });
                println!("{object}");
            }
        }
        self.bounds.push(bounds.clone());
    }

    /// Prints the bounds' table and the summary.
    pub(crate) fn finish(&self) {
        if !self.bounds.is_empty() {
            self.text("\nlist scheduling bound, total time / makespan");
            self.text(&format!(
                "  {:<34}{:>8}{:>8}{:>8}{:>8}  longest chain",
                "workload", 2, 4, 8, 16
            ));
            for bounds in &self.bounds {
                let columns = bounds.of_cores.map(|bound| format!("{bound:>8.2}")).concat();
                let chain = bounds.longest_chain;
                self.text(&format!("  {:<34}{columns}  {chain}", bounds.name));
            }
        }
        summary::lines(&self.measured).iter().for_each(|line| self.text(line));
    }
}

#[allow(clippy::cast_precision_loss, reason = "gas and counts for a display")]
fn header(measured: &Measured) -> String {
    let Measured { name, transactions, gas, rounds, sequential_ms: ms, .. } = measured;
    let mut line = format!(
        "{name}: {transactions} transactions, {:.2} Mgas, {rounds} rounds; \
         sequential {ms:.3} ms, {:.3} Ggas/s, {:.0} tx/s",
        *gas as f64 / 1e6,
        *gas as f64 / ms / 1e6,
        *transactions as f64 / ms * 1e3,
    );
    if measured.skipped > 0 {
        line += &format!(", {} skipped", measured.skipped);
    }
    line
}

fn phases_line(phases: &PhasesMs) -> String {
    let PhasesMs { plan, transactions, waiting, diff } = phases;
    format!(
        "       plan {plan:.3}, transactions {transactions:.3} (waiting {waiting:.3}), diff {diff:.3} ms"
    )
}

#[allow(clippy::cast_precision_loss, reason = "gas and counts for a display")]
fn row_line(measured: &Measured, row: &Row) -> String {
    format!(
        "  {:<5}{:<13}{:>10.3} ms  ratio {:>6.3}  {:>7.3} Ggas/s {:>10.0} tx/s  {} redone  {:?}",
        workers(row),
        row.configuration.knowledge.name(),
        row.ms,
        row.ratio,
        measured.gas as f64 / row.ms / 1e6,
        measured.transactions as f64 / row.ms * 1e3,
        row.re_executions,
        row.strategy,
    )
}

fn workers(row: &Row) -> String {
    match row.configuration.workers {
        Workers::Count(count) => count.to_string(),
        Workers::Automatic => "auto".to_owned(),
    }
}

fn row_json(measured: &Measured, row: &Row) -> Value {
    let workers = match row.configuration.workers {
        Workers::Count(count) => json!(count),
        Workers::Automatic => json!("auto"),
    };
    json!({
        "workload": measured.name,
        "txs": measured.transactions,
        "gas": measured.gas,
        "workers": workers,
        "ms": row.ms,
        "sequential_ms": measured.sequential_ms,
        "ratio": row.ratio,
        "reexecutions": row.re_executions,
        "knowledge": row.configuration.knowledge.name(),
    })
}

/// As Linux names it.
fn cpu_name() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(':')).map(|(_, name)| name.trim().to_owned());
    name.unwrap_or_else(|| "unknown processor".to_owned())
}
