//! Sections: a key range cut where no source's rows reach across, so that each stretch is read in
//! the cheapest way its rows allow (DESIGN.md section 8).

/// A run of keys that one source holds and that is read whole: a file, a row group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span<'k, T> {
    /// The first key.
    pub(crate) first: &'k [u8],
    /// The last key.
    pub(crate) last: &'k [u8],
    /// The source: spans of one source share no key.
    pub(crate) source: usize,
    /// What it is.
    pub(crate) what: T,
}

/// Spans that share keys, directly or through others. No key of theirs lies in another section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Section<'k, T> {
    /// By first key.
    pub(crate) spans: Vec<Span<'k, T>>,
    /// The last key of the span that ends last.
    pub(crate) last: &'k [u8],
}

impl<T> Section<'_, T> {
    /// The first key.
    pub(crate) fn first(&self) -> &[u8] {
        self.spans[0].first
    }

    /// The source of the highest number.
    pub(crate) fn oldest_source(&self) -> usize {
        self.spans.iter().map(|span| span.source).max().unwrap_or_default()
    }
}

/// Cuts `spans` into sections, ascending by key: as many as there can be.
pub(crate) fn cut<T>(mut spans: Vec<Span<'_, T>>) -> Vec<Section<'_, T>> {
    spans.sort_by_key(|span| span.first);
    let mut sections: Vec<Section<'_, T>> = Vec::new();
    for span in spans {
        match sections.last_mut() {
            Some(section) if span.first <= section.last => {
                section.last = section.last.max(span.last);
                section.spans.push(span);
            }
            _ => sections.push(Section { last: span.last, spans: vec![span] }),
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(spans: &[(usize, &str, &str)]) -> Vec<Vec<usize>> {
        let spans = spans.iter().map(|(source, first, last)| Span {
            first: first.as_bytes(),
            last: last.as_bytes(),
            source: *source,
            what: (),
        });
        let sections = cut(spans.collect()).into_iter();
        sections.map(|section| section.spans.iter().map(|span| span.source).collect()).collect()
    }

    #[test]
    fn groups_that_follow_one_another_are_apart() {
        assert_eq!(shape(&[(0, "a", "b"), (0, "c", "d"), (0, "e", "g")]), [[0], [0], [0]]);
    }

    #[test]
    fn section_ends_where_no_source_reaches_across() {
        let spans = [(0, "a", "b"), (0, "c", "e"), (0, "f", "h"), (1, "d", "e"), (1, "x", "z")];
        assert_eq!(shape(&spans), [vec![0], vec![0, 1], vec![0], vec![1]]);
    }

    #[test]
    fn one_shared_key_keeps_spans_together() {
        assert_eq!(shape(&[(0, "a", "c"), (1, "c", "d")]), [[0, 1]]);
        assert_eq!(shape(&[(0, "a", "b"), (1, "c", "d")]), [[0], [1]]);
    }

    #[test]
    fn span_that_reaches_far_holds_all_under_it_together() {
        let spans = [(0, "a", "b"), (1, "a", "z"), (0, "c", "d"), (0, "e", "f")];
        assert_eq!(shape(&spans), [[0, 1, 0, 0]]);
    }
}
