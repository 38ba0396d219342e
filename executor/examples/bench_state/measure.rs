//! The rounds: every configuration with a diff of its own, and the baseline with the same one.

use crate::{
    Failure,
    memory::counted,
    options::Options,
    report::{Report, Row},
    workload::{Shape, World},
};
use alloy_primitives::{B256, U256};
use executor::{
    Account, StateArena,
    keccak::Backend,
    state::arena::{ArenaError, ArenaOptions, THREADS_MAX},
};
use std::time::Instant;

/// The configurations that this processor has.
fn configurations() -> Vec<(Backend, usize)> {
    let backends = Backend::ALL.into_iter().filter(|backend| backend.is_available());
    backends.flat_map(|backend| (1..=THREADS_MAX).map(move |threads| (backend, threads))).collect()
}

/// What `run` returns, and how long it took.
pub(crate) fn timed<T>(run: impl FnOnce() -> T) -> (T, f64) {
    let started = Instant::now();
    let result = run();
    (result, started.elapsed().as_secs_f64() * 1e3)
}

/// Measures all cases of a state.
pub(crate) fn measure(shape: Shape, options: &Options, report: &Report) -> Result<(), Failure> {
    let (mut world, world_ms) = timed(|| World::new(shape));
    eprintln!("{}: drawn in {:.1} s", shape.name(0), world_ms / 1e3);
    let mut arena = build(shape, &world, report)?;
    for touched in shape.touched().filter(|touched| options.selects(&shape.name(*touched))) {
        let configurations = configurations();
        let mut rounds = vec![Vec::new(); configurations.len()];
        // The first round only warms up.
        for round in 0..=options.rounds {
            for (&(backend, threads), rounds) in configurations.iter().zip(&mut rounds) {
                arena.set_backend(backend).map_err(|error| error.to_string())?;
                arena.set_threads(threads);
                let pair = one(&mut world, &mut arena, touched)?;
                if round > 0 {
                    rounds.push(pair);
                }
            }
        }
        for ((backend, threads), rounds) in configurations.into_iter().zip(&rounds) {
            let (case, accounts) = (shape.case(), shape.accounts);
            report.row(&Row { case, accounts, touched, backend, threads, rounds });
        }
    }
    // By its own account, which was compared with the allocator's when it was built.
    report.memory(shape, "after all blocks", world.keys(), arena.bytes_resident());
    Ok(())
}

/// One diff through both; the milliseconds of each.
fn one(world: &mut World, arena: &mut StateArena, touched: usize) -> Result<(f64, f64), Failure> {
    let diff = world.draw(touched);
    let (root, ms) = timed(|| arena.apply(&diff));
    let root = root.map_err(|error| error.to_string())?;
    world.apply_flat(&diff);
    let (expected, baseline_ms) = timed(|| world.root(&diff));
    if root != expected {
        return Err(format!("the arena's root {root} is not the hash builder's {expected}"));
    }
    Ok((ms, baseline_ms))
}

/// Builds the arena under every configuration; the last one stays.
fn build(shape: Shape, world: &World, report: &Report) -> Result<StateArena, Failure> {
    let accounts: Vec<(B256, Account)> = world.flat_accounts().collect();
    let slots: Vec<(B256, B256, U256)> = world.flat_slots().collect();
    let mut last = None;
    // Once without being reported: whoever comes first pays for fresh memory.
    let first = configurations().into_iter().take(1).map(|configuration| (configuration, false));
    let all = configurations().into_iter().map(|configuration| (configuration, true));
    for ((backend, threads), is_reported) in first.chain(all) {
        drop(last.take());
        let arena_options = ArenaOptions { backend, threads, ..ArenaOptions::default() };
        let accounts = accounts.iter().map(|account| Ok::<_, ArenaError>(*account));
        let slots = slots.iter().map(|slot| Ok(*slot));
        let built = || timed(|| StateArena::from_hashed(arena_options, accounts, slots));
        let ((arena, ms), bytes) = counted(built);
        let arena = arena.map_err(|error| error.to_string())?;
        if arena.root() != world.accounts.root() {
            return Err("the built arena has another root than the hash builder".into());
        }
        let case = if shape.slots { "build+s" } else { "build" };
        let rounds = &[(ms, world.build_ms)];
        let row = Row { case, accounts: shape.accounts, touched: 0, backend, threads, rounds };
        if is_reported {
            report.row(&row);
        }
        last = Some((arena, bytes));
    }
    let (arena, bytes) = last.ok_or("no configuration")?;
    report.memory(shape, "built", world.keys(), bytes.unsigned_abs());
    let difference = bytes.unsigned_abs().abs_diff(arena.bytes_resident());
    if difference > bytes.unsigned_abs() / 50 {
        return Err(format!("the arena miscounts its memory by {difference} of {bytes} bytes"));
    }
    Ok(arena)
}
