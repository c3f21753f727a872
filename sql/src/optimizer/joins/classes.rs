//! [`Classes`]: what is equal to one another, said by conditions or implied by several of them.
//!
//! Of `a.x = b.x` and `b.x = c.x` follows `a.x = c.x`: `a` and `c` can be joined by it, and `b`
//! then by either of the two. No class has two columns of one input, since nothing but conditions
//! with others would make these equal.

use datafusion::logical_expr::Expr;

use super::Set;

/// An expression over these inputs.
pub(super) type Member = (Set, Expr);

/// Each class's members. A column of one input is in one class only, or in classes of two.
#[derive(Default)]
pub(super) struct Classes(Vec<Vec<Member>>);

impl Classes {
    /// Takes in that two expressions are equal.
    pub(super) fn add(&mut self, left: Member, right: Member) {
        let is_column =
            |(set, expr): &Member| set.count_ones() == 1 && matches!(expr, Expr::Column(_));
        if !is_column(&left) || !is_column(&right) {
            self.0.push(vec![left, right]);
            return;
        }
        let of = |member: &Member| self.0.iter().position(|class| class.contains(member));
        let (one, other) = (of(&left), of(&right));
        if one.is_some() && one == other {
            return;
        }
        let members = |class: Option<usize>, member: &Member| match class {
            Some(class) => self.0[class].clone(),
            None => vec![member.clone()],
        };
        let mut both = members(one, &left);
        both.extend(members(other, &right));
        let inputs = both.iter().fold(0, |inputs: Set, (input, _)| inputs | input);
        if usize::try_from(inputs.count_ones()).ok() != Some(both.len()) {
            self.0.push(vec![left, right]);
            return;
        }
        let (first, last) = (one.min(other), one.max(other));
        match (first, last) {
            (Some(kept), Some(gone)) => {
                self.0[kept] = both;
                self.0.swap_remove(gone);
            }
            (_, Some(kept)) => self.0[kept] = both,
            _ => self.0.push(both),
        }
    }

    /// All pairs of each class, with its number.
    pub(super) fn pairs(&self) -> Vec<(usize, Member, Member)> {
        let mut pairs = Vec::new();
        for (number, class) in self.0.iter().enumerate() {
            for (at, left) in class.iter().enumerate() {
                for right in &class[at + 1..] {
                    pairs.push((number, left.clone(), right.clone()));
                }
            }
        }
        pairs
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::col;

    use super::*;

    /// A column, and the input it is of.
    type Named = (Set, &'static str);

    fn pairs(equal: &[(Named, Named)]) -> Vec<(String, String)> {
        let mut classes = Classes::default();
        for ((a, left), (b, right)) in equal {
            classes.add((*a, col(*left)), (*b, col(*right)));
        }
        let mut pairs: Vec<(String, String)> = classes
            .pairs()
            .into_iter()
            .map(|(_, (_, left), (_, right))| {
                let (left, right) = (left.to_string(), right.to_string());
                if left < right { (left, right) } else { (right, left) }
            })
            .collect();
        pairs.sort();
        pairs
    }

    fn named(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(left, right)| ((*left).to_owned(), (*right).to_owned())).collect()
    }

    #[test]
    fn what_is_equal_to_the_same_is_equal() {
        let found = pairs(&[((1, "a.x"), (2, "b.x")), ((4, "c.x"), (2, "b.x"))]);
        assert_eq!(found, named(&[("a.x", "b.x"), ("a.x", "c.x"), ("b.x", "c.x")]));
        let found =
            pairs(&[((1, "a.x"), (2, "b.x")), ((4, "c.x"), (8, "d.x")), ((1, "a.x"), (8, "d.x"))]);
        assert_eq!(found.len(), 6, "{found:?}");
    }

    #[test]
    fn two_columns_of_one_input_stay_in_classes_of_their_own() {
        let found = pairs(&[((1, "a.x"), (2, "b.x")), ((1, "a.y"), (2, "b.x"))]);
        assert_eq!(found, named(&[("a.x", "b.x"), ("a.y", "b.x")]));
    }
}
