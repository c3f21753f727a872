//! Predicates on zone maps and encoded chunks.
