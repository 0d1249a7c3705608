//! The cases, by what they are about.

mod attacks;
mod concurrency;
mod costs;
mod fields;
mod grpc;
mod identity;
mod limits;
mod lists;
mod lookups;
mod missing;
mod nested;
mod on_rejection;
mod plans;
mod refusals;
mod setup;
mod targets;

use crate::http::case::Case;

/// Returns the table: cases of one layer, and of a layer within another.
pub(super) fn all() -> Vec<Case> {
    [
        limits::cases(),
        fields::cases(),
        refusals::cases(),
        lists::cases(),
        identity::cases(),
        missing::cases(),
        attacks::cases(),
        targets::cases(),
        plans::cases(),
        lookups::cases(),
        costs::cases(),
        grpc::cases(),
        concurrency::cases(),
        nested::cases(),
        on_rejection::cases(),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::{super::case::Step, *};

    #[test]
    fn every_case_has_a_title_of_its_own() {
        let mut titles: Vec<_> = all().iter().map(|case| case.title).collect();
        titles.sort_unstable();
        assert!(titles.windows(2).all(|pair| pair[0] != pair[1]), "{titles:?}");
    }

    #[test]
    fn the_table_has_hundreds_of_answers() {
        let all = all();
        let is_ask = |step: &&Step| matches!(step, Step::Ask(..));
        let answers: usize = all.iter().map(|case| case.steps.iter().filter(is_ask).count()).sum();
        assert!(all.len() > 50 && answers > 350, "{} cases, {answers} answers", all.len());
    }
}
