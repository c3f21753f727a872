//! "Did you mean": the nearest name to one that does not exist.

use strsim::damerau_levenshtein;

/// The name nearest to `wanted`, if it is near enough to be a slip: at most one edit in three
/// letters, swapped neighbours counting as one; letter case counts for nothing.
pub fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = wanted.to_lowercase();
    let edits_max = folded.chars().count().div_ceil(3);
    names
        .into_iter()
        .map(|name| (damerau_levenshtein(&folded, &name.to_lowercase()), name))
        .filter(|(edits, _)| *edits <= edits_max)
        .min_by_key(|(edits, name)| (*edits, *name))
        .map(|(_, name)| name)
}

/// The hint for `wanted`, as an error carries it.
pub fn did_you_mean<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(wanted, names).map(|name| format!("did you mean \"{name}\"?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_the_nearest_name() {
        let names = ["events", "agents", "edges"];
        assert_eq!(nearest("evnets", names), Some("events"));
        assert_eq!(nearest("AGENT", names), Some("agents"));
        assert_eq!(nearest("xyzzy", names), None);
        assert_eq!(did_you_mean("edge", names).as_deref(), Some("did you mean \"edges\"?"));
    }
}
