//! The cases of the table, by subject.

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
mod rejections;
mod setup;
mod targets;

use crate::http::case::Case;

/// Returns all cases: of a single layer, and of nested layers.
pub(super) fn all() -> Vec<Case> {
    [
        limits::cases(),
        fields::cases(),
        rejections::cases(),
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
    fn titles_of_cases_are_unique() {
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
