//! Settings as operators write them.

use super::*;

#[test]
fn flags_win_over_the_file() {
    let file: Settings = toml::from_str("block-time-ms = 200\nl1-confirmations = 9").unwrap();
    let flags = Settings { block_time_ms: Some(300), ..Settings::default() };
    let merged = flags.over(file);
    assert_eq!((merged.block_time_ms, merged.l1_confirmations), (Some(300), Some(9)));
}

#[test]
fn an_unknown_key_and_a_missing_setting_are_named() {
    let error = toml::from_str::<Settings>("blocktime = 1").unwrap_err().to_string();
    assert!(error.contains("blocktime"), "{error}");
    let error = Config::check(Settings::default()).unwrap_err().to_string();
    assert!(error.contains("--data-dir") && error.contains("WEFT_DATA_DIR"), "{error}");
}

#[test]
fn a_block_time_of_nothing_is_refused() {
    let settings =
        Settings { data_dir: Some("x".into()), block_time_ms: Some(0), ..Settings::default() };
    let error = Config::check(settings).unwrap_err().to_string();
    assert!(error.contains("block-time-ms is 0"), "{error}");
}

#[test]
fn history_is_a_number_of_blocks_or_archive() {
    let read = |text: &str| toml::from_str::<Settings>(text).map(|s| s.history_blocks);
    assert_eq!(read("history-blocks = 5000").unwrap(), Some(History::Blocks(5000)));
    assert_eq!(read("history-blocks = \"archive\"").unwrap(), Some(History::Archive));
    assert_eq!("5000".parse(), Ok(History::Blocks(5000)));
    let error = read("history-blocks = \"all\"").unwrap_err().to_string();
    assert!(error.contains("`all` is neither a number of blocks nor `archive`"), "{error}");
    let check = |history_blocks, proof_blocks| {
        check_history(&Settings { history_blocks, proof_blocks, ..Settings::default() })
    };
    assert_eq!(check(None, None).unwrap(), (History::Archive, 1_024));
    let error = check(Some(History::Blocks(1_023)), None).unwrap_err().to_string();
    assert!(error.contains("history-blocks is 1023"), "{error}");
    let error = check(None, Some(0)).unwrap_err().to_string();
    assert!(error.contains("proof-blocks is 0"), "{error}");
    let few = check(Some(History::Blocks(10)), Some(10)).unwrap();
    assert_eq!(few, (History::Blocks(10), 10));
}

#[test]
fn the_pool_is_configured() {
    let text = "pool-ordering = \"priority-fee\"\npool-window-ms = 25\npool-mib = 1\n\
                pool-transactions = 7\npool-sender-slots = 3\npool-ttl-secs = 60\n\
                explain-hours = 2";
    let settings: Settings = toml::from_str(text).unwrap();
    let pool = check_pool(&Settings::default().over(settings)).unwrap();
    assert_eq!((pool.ordering, pool.window.as_millis()), (Ordering::PriorityFee, 25));
    assert_eq!((pool.transactions_max, pool.bytes_max), (7, 1 << 20));
    assert_eq!((pool.sender_slots_max, pool.ttl.as_secs()), (3, 60));
    assert_eq!(pool.explain.as_secs(), 7_200);
    let defaults = check_pool(&Settings::default()).unwrap();
    assert_eq!((defaults.ordering, defaults.window.as_millis()), (Ordering::Fcfs, 10));
    let never = Settings { pool_ttl_secs: Some(0), ..Settings::default() };
    let error = check_pool(&never).unwrap_err().to_string();
    assert!(error.contains("pool-ttl-secs is 0"), "{error}");
    assert!(toml::from_str::<Settings>("pool-ordering = \"random\"").is_err());
}

#[test]
fn a_key_never_prints_itself() {
    let key = Key(PrivateKeySigner::from_bytes(&B256::repeat_byte(7)).unwrap());
    assert!(!format!("{key:?}").contains("0707"));
}

fn pressure(text: &str) -> Result<Option<Limits>, String> {
    let settings: Settings = toml::from_str(text).map_err(|error| error.to_string())?;
    let batch_age_secs = settings.batch_age_secs.unwrap_or(60);
    settings.pressure.check(batch_age_secs).map_err(|error| error.to_string())
}

#[test]
fn back_pressure_has_defaults_and_a_pause_alone_scales_them() {
    let lags = |text| {
        let limits = pressure(text).unwrap().unwrap();
        limits.thresholds.map(|threshold| threshold.lag.as_secs())
    };
    assert_eq!(lags(""), [300, 900, 1_800, 2_700, 3_600]);
    assert_eq!(lags("[pressure]\npause-secs = 1200"), [100, 300, 600, 900, 1_200]);
    let tight = "batch-age-secs = 0\n[pressure]\npause-secs = 5";
    assert_eq!(lags(tight), [1, 2, 3, 4, 5], "as small as it can be");
    let limits = pressure("").unwrap().unwrap();
    let mib = limits.thresholds.map(|threshold| threshold.bytes >> 20);
    assert_eq!(mib, [170, 512, 1_024, 1_536, 2_048]);
    assert_eq!(limits.throttle_bytes_per_sec, 131_072);
    assert_eq!(limits.tip_wei_min, 1_000_000_000);
    assert_eq!(pressure("[pressure]\nswitch = \"off\""), Ok(None));
}

#[test]
fn thresholds_of_back_pressure_rise_and_a_wrong_one_is_named() {
    let error = |text| pressure(text).unwrap_err();
    let found = error("[pressure]\nthrottle-secs = 2000");
    let expected = "pressure-minimum-fee-secs is 1800, expected more than pressure-throttle-secs, \
                    which is 2000";
    assert_eq!(found, expected);
    let found = error("batch-age-secs = 300");
    assert_eq!(found, "pressure-warn-secs is 300, expected more than batch-age-secs, which is 300");
    let found = error("[pressure]\npause-mib = 0");
    assert_eq!(found, "pressure-pause-mib is 0, expected 1 to 16777216 MiB");
    assert!(error("[pressure]\npaus-secs = 9").contains("unknown field `paus-secs`"));
    assert!(error("[pressure]\nthrottle-kib-per-sec = 0").contains("is 0, expected 1 to"));
    let flags = PressureSettings { pause_secs: Some(60), ..PressureSettings::default() };
    let file: Settings = toml::from_str("[pressure]\npause-secs = 1200\ntip-wei = 5").unwrap();
    let merged = flags.over(file.pressure);
    assert_eq!((merged.pause_secs, merged.tip_wei), (Some(60), Some(5)));
}
