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

fn try_read(text: &str) -> Result<Settings, String> {
    Settings::from_file(SettingsFile::from_text(text)).map_err(|error| error.to_string())
}

fn read(text: &str) -> Settings {
    try_read(text).unwrap()
}

#[test]
fn endpoints_are_one_or_several_and_never_printed_whole() {
    let urls = |text: &str| read(text).endpoints.l1_rpc_url.unwrap();
    let one = urls("l1-rpc-url = \"http://127.0.0.1:8545\"");
    assert_eq!(one, ["http://127.0.0.1:8545".parse().unwrap()]);
    let two = urls("l1-rpc-url = \"http://127.0.0.1:1, http://127.0.0.1:2\"");
    assert_eq!(two, urls("l1-rpc-url = [\"http://127.0.0.1:1\", \"http://127.0.0.1:2\"]"));
    assert_eq!(two.len(), 2);
    let secret =
        read("l1-rpc-url = [\"https://a:hidden@l1.example\", \"https://l1.example/?k=hidden\"]");
    assert!(!format!("{secret:?}").contains("hidden"), "{secret:?}");
    for text in ["\"l1.example/hidden\"", "[\"http://x\", \"hidden\"]", "7"] {
        let error = try_read(&format!("block-time-ms = 7\nl1-rpc-url = {text}")).unwrap_err();
        assert!(error.contains("line 2") && error.contains("http://"), "{error}");
        assert!(error.contains("l1-rpc-url"), "{error}");
        assert!(!error.contains("hidden"), "{error}");
    }
    let flags = read("l1-rpc-url = \"http://127.0.0.1:1\"");
    assert_eq!(
        flags.over(read("l1-rpc-url = \"http://x\"")).endpoints.l1_rpc_url.unwrap(),
        one_of(1)
    );
}

fn one_of(port: u16) -> Vec<EndpointUrl> {
    vec![format!("http://127.0.0.1:{port}").parse().unwrap()]
}

#[test]
fn an_account_has_one_way_to_sign() {
    let address = "0x00000000000000000000000000000000000000aa";
    let url = "batcher-signer-url = \"http://127.0.0.1:9000\"";
    for (text, said) in [
        (
            format!("batcher-key-file = \"k\"\n{url}\nbatcher-signer-address = \"{address}\""),
            "give one of",
        ),
        ("batcher-keystore = \"k\"".into(), "batcher-keystore-password-file"),
        ("proposer-keystore-password-file = \"k\"".into(), "without proposer-keystore"),
        (url.into(), "batcher-signer-address"),
        (format!("proposer-signer-address = \"{address}\""), "without proposer-signer-url"),
    ] {
        let error = read(&text).accounts.check(Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    let remote = format!("{url}\nbatcher-signer-address = \"{address}\"");
    // Whatever signs for it: one account is not both.
    let proposer = format!(
        "proposer-signer-url = \"http://127.0.0.1:9001\"\nproposer-signer-address = \"{address}\""
    );
    let both = read(&format!("{remote}\n{proposer}")).accounts.check(Duration::ZERO).unwrap_err();
    assert!(both.to_string().contains("the same account 0x00"), "{both}");
    let accounts = read(&remote).accounts.check(Duration::ZERO).unwrap();
    assert!(accounts.proposer.is_none());
    let signer = accounts.batcher.unwrap().signer().address();
    assert_eq!(signer, address.parse::<alloy::primitives::Address>().unwrap());
    // A flag replaces the file's way to sign, whichever it was.
    let flags = read("batcher-key-file = \"k\"").over(read(&remote)).accounts;
    assert!(flags.batcher_key_file.is_some() && flags.batcher_signer_url.is_none());
}

/// The PBKDF2 example of Ethereum's description of the Web3 secret storage.
const KEYSTORE: &str = r#"{
    "crypto": {
        "cipher": "aes-128-ctr",
        "cipherparams": { "iv": "6087dab2f9fdbbfaddc31a909735c1e6" },
        "ciphertext": "5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46",
        "kdf": "pbkdf2",
        "kdfparams": {
            "c": 262144, "dklen": 32, "prf": "hmac-sha256",
            "salt": "ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd"
        },
        "mac": "517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2"
    },
    "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
    "version": 3
}"#;
/// The key in it.
const KEYSTORE_KEY: &str = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d";

#[test]
fn a_keystore_is_opened_with_its_password() {
    let directory = tempfile::tempdir().unwrap();
    let (keystore, password) = (directory.path().join("batcher.json"), directory.path().join("p"));
    std::fs::write(&keystore, KEYSTORE).unwrap();
    let accounts = |text: &str| {
        std::fs::write(&password, text).unwrap();
        let settings = AccountSettings {
            batcher_keystore: Some(keystore.clone()),
            batcher_keystore_password_file: Some(password.clone()),
            ..AccountSettings::default()
        };
        settings.check(Duration::ZERO)
    };
    let opened = accounts("testpassword\n").unwrap().batcher.unwrap();
    let key: B256 = KEYSTORE_KEY.parse().unwrap();
    let expected = PrivateKeySigner::from_bytes(&key).unwrap().address();
    assert_eq!(opened.signer().address(), expected);
    assert!(!format!("{opened:?}").contains(&KEYSTORE_KEY[..8]));
    let error = accounts("another").unwrap_err().to_string();
    assert!(
        error.contains("cannot open the keystore") && error.contains("batcher.json"),
        "{error}"
    );
}

#[test]
fn caps_and_budgets_are_in_gwei_and_ether() {
    let text = "l1-fee-cap-gwei = 50\nl1-budget-eth-per-hour = 0.25\nl1-budget-eth-per-day = \"2\"\n\
                l1-raise-after-secs = 5\nl1-runway-warn-days = 1";
    let accounts = read(text).accounts.check(Duration::from_millis(3)).unwrap();
    let sending = accounts.sending;
    assert_eq!(sending.caps.max_fee_wei, 50_000_000_000);
    assert_eq!(sending.caps.max_blob_fee_wei, 200_000_000_000);
    assert_eq!(sending.budget.hour_wei, Some(250_000_000_000_000_000));
    assert_eq!(sending.budget.day_wei, Some(2_000_000_000_000_000_000));
    assert_eq!((sending.bump_after.as_secs(), sending.poll.as_millis()), (5, 3));
    assert_eq!(accounts.runway_low, Duration::from_secs(86_400));
    for text in ["-1", "\"much\"", "\"-0.5\"", "true"] {
        let error = try_read(&format!("l1-budget-eth-per-day = {text}"));
        assert!(error.is_err(), "{text}");
    }
    let zero = read("l1-fee-cap-gwei = 0").accounts.check(Duration::ZERO).unwrap_err();
    assert!(zero.to_string().contains("l1-fee-cap-gwei is 0"), "{zero}");
}
