//! The few numbers that all rows come down to, and whether the targets hold.
//!
//! Looks at automatic mode only, because that is how a node runs.

use crate::{
    measure::{KnowledgeOf, Measured, Row, Workers},
    statistics::geometric_mean,
};

/// From here on a mainnet block counts in the mean.
const LARGE_GAS: u64 = 4_000_000;
/// From here on a ratio is judged; below, the overhead in time.
const LARGE_MS: f64 = 1.0;
const RATIO_MIN: f64 = 0.97;
const OVERHEAD_MAX_US: f64 = 20.0;
const MAINNET_MIN: f64 = 1.15;
const MAINNET_GOAL: f64 = 1.25;
/// Workloads that must reach a ratio of their own.
const RATIOS_MIN: [(&str, f64); 5] = [
    ("erc20_pair", 1.4),
    ("erc20_fam10", 1.4),
    ("generated/uni_independent", 1.8),
    ("uni_20pools", 1.5),
    ("hybrid_30", 1.15),
];

/// A workload's automatic row with this knowledge.
fn automatic(measured: &Measured, knowledge: KnowledgeOf) -> Option<&Row> {
    measured.rows.iter().find(|row| {
        let configuration = row.configuration;
        configuration.workers == Workers::Automatic && configuration.knowledge == knowledge
    })
}

/// Text of the summary.
pub(crate) fn lines(measured: &[Measured]) -> Vec<String> {
    let mut lines = vec!["\nsummary: automatic mode, knowledge from other blocks".to_owned()];
    lines.extend(mainnet(measured));
    lines.extend(never_lose(measured));
    for (name, least) in RATIOS_MIN {
        let found = measured.iter().find(|measured| measured.name == name);
        let row = found.and_then(|measured| automatic(measured, KnowledgeOf::OtherBlocks));
        lines.extend(row.map(|row| target(name, row.ratio, least)));
    }
    lines
}

fn target(name: &str, ratio: f64, least: f64) -> String {
    let verdict = if ratio >= least { "holds" } else { "MISSED" };
    format!("  {name}: {ratio:.3}, target {least}: {verdict}")
}

fn mainnet(measured: &[Measured]) -> Vec<String> {
    let mean = |knowledge| {
        let large = measured
            .iter()
            .filter(|measured| measured.name.starts_with("mainnet/") && measured.gas >= LARGE_GAS);
        let rows = large.filter_map(|measured| automatic(measured, knowledge));
        geometric_mean(rows.map(|row| row.ratio))
    };
    let Some(reached) = mean(KnowledgeOf::OtherBlocks) else { return Vec::new() };
    let mut lines = vec![target("mainnet blocks >= 4 Mgas, geometric mean", reached, MAINNET_MIN)];
    lines.push(target("the same against the goal", reached, MAINNET_GOAL));
    if let Some(oracle) = mean(KnowledgeOf::Oracle) {
        lines.push(format!("  the same with the oracle: {oracle:.3}"));
        lines.push(if oracle > 1.0 {
            let share = (reached - 1.0) / (oracle - 1.0) * 100.0;
            format!("  share of the oracle's gain that was reached: {share:.0} %")
        } else {
            "  share of the oracle's gain that was reached: the oracle gains nothing".to_owned()
        });
    }
    lines
}

fn never_lose(measured: &[Measured]) -> Vec<String> {
    let rows = measured
        .iter()
        .filter_map(|measured| Some((measured, automatic(measured, KnowledgeOf::OtherBlocks)?)));
    let (large, small): (Vec<_>, Vec<_>) =
        rows.partition(|(measured, _)| measured.sequential_ms >= LARGE_MS);
    let worst = large.into_iter().min_by(|left, right| left.1.ratio.total_cmp(&right.1.ratio));
    let mut lines = Vec::new();
    lines.extend(worst.map(|(measured, row)| {
        let name = format!("worst of >= {LARGE_MS} ms, {}", measured.name);
        target(&name, row.ratio, RATIO_MIN)
    }));
    // What the ratio says, as time: comparing the two medians would count the machine's noise.
    let overhead = |(measured, row): &(&Measured, &Row)| {
        (measured.sequential_ms / row.ratio - measured.sequential_ms) * 1e3
    };
    let worst = small.into_iter().max_by(|left, right| overhead(left).total_cmp(&overhead(right)));
    lines.extend(worst.map(|worst| {
        let us = overhead(&worst);
        let verdict = if us <= OVERHEAD_MAX_US { "holds" } else { "MISSED" };
        let name = &worst.0.name;
        format!("  largest overhead below {LARGE_MS} ms, {name}: {us:.1} us, at most {OVERHEAD_MAX_US}: {verdict}")
    }));
    lines
}
