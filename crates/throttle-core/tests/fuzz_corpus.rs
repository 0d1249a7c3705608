//! The corpus of the fuzzer for the rate parser.

use std::{fs, path::Path};

use throttle_core::Rate;

#[test]
fn every_rate_of_the_corpus_is_parsed_or_rejected_without_a_panic() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/rate");
    let (mut parsed, mut rejected) = (0, 0);
    for entry in fs::read_dir(folder).expect("the corpus is in the repository") {
        let bytes = fs::read(entry.expect("an entry").path()).expect("a file");
        match Rate::parse(&String::from_utf8_lossy(&bytes)) {
            Ok(rate) => {
                parsed += 1;
                assert_eq!(rate.window().subsec_nanos(), 0, "a rate has whole seconds");
            }
            Err(error) => {
                rejected += 1;
                assert!(error.to_string().len() < 1_000, "an error stays short: {error}");
            }
        }
    }
    assert!(parsed >= 5 && rejected >= 5, "{parsed} parsed, {rejected} rejected");
}
