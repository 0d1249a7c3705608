//! Replays what the fuzzer of the rate parser starts from.

use std::{fs, path::Path};

use throttle_core::Rate;

#[test]
fn every_rate_of_the_corpus_is_read_or_refused_without_a_panic() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/rate");
    let (mut read, mut refused) = (0, 0);
    for entry in fs::read_dir(folder).expect("the corpus is in the repository") {
        let bytes = fs::read(entry.expect("an entry").path()).expect("a file");
        match Rate::parse(&String::from_utf8_lossy(&bytes)) {
            Ok(rate) => {
                read += 1;
                assert_eq!(rate.window().subsec_nanos(), 0, "rates are of whole seconds");
            }
            Err(error) => {
                refused += 1;
                assert!(error.to_string().len() < 1_000, "an error stays short: {error}");
            }
        }
    }
    assert!(read >= 5 && refused >= 5, "{read} read, {refused} refused");
}
